"""`graft cache`: what it lists, what it clears, and what it says when it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graftwork.cache.entries import entries
from graftwork.cache.room import LIMIT, make_room, size_limit
from graftwork.cli.doctor import _caches as examine_caches

Graft = Callable[..., Any]
HOUR, DAY = 3600.0, 86_400.0
ABOUT = {
    "what": "prefix states", "backbone": "resnet18", "weights": "imagenet1k-v1", "boundary": "after stage 4 of 6",
    "part": "training view 0", "precision": "bf16", "needs": ["pooled", "map4"], "rows": 50,
}  # fmt: skip


def fill(folder: Path, key: str, size: int = 1_500_000, idle: float = 0.0, about: Any = None) -> None:
    """An entry, a folder with `about` or otherwise a file, last used `idle` seconds ago."""
    path = folder / key
    path.parent.mkdir(parents=True, exist_ok=True)
    used = path
    if about is not None:
        (path / "segment-1").mkdir(parents=True)
        (path / "segment-1" / "0.bin").write_bytes(bytes(size))
        used = path / "about.json"
        used.write_text(json.dumps(about) if isinstance(about, dict) else about)
    else:
        path.write_bytes(bytes(size))
    os.utime(used, (time.time() - idle,) * 2)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One entry of every kind."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("GRAFTWORK_CACHE", str(folder))
    monkeypatch.setenv(LIMIT, "5GB")
    fill(folder / "states", "aaa111" + "0" * 26, idle=200, about=ABOUT)
    fill(folder / "states", "bbb222" + "0" * 26, idle=3 * DAY, about="{")
    fill(folder / "pictures", "ccc333" + "0" * 26, idle=2 * HOUR, about={"size": 224})
    fill(folder / "tokens", "ddd444.arrow", idle=9 * DAY)
    fill(folder / "tables", "eee555.arrow", idle=10 * DAY)
    fill(folder / "weights", "fff666-resnet18.pth", idle=400 * DAY)
    return folder


def left(folder: Path) -> list[str]:
    """The first letters of the keys that are there."""
    return sorted(path.name[:3] for path in folder.glob("*/*"))


def test_the_list_says_what_lies_there_how_much_it_is_and_the_limit(graft: Graft, cache: Path) -> None:
    done = graft("cache", "list")
    assert (done.code, done.stderr) == (0, "")
    rows = done.stdout.splitlines()
    assert rows[0].split() == ["kind", "what", "size", "last", "used", "key"]
    assert [row.split()[0] for row in rows[1:7]] == ["states", "pictures", "states", "tokens", "tables", "weights"]
    sentence = (
        "prefix states, resnet18, imagenet1k-v1, after stage 4 of 6, bf16, training view 0, needs pooled+map4, rows 50"
    )
    for words in (sentence, "1.5 MB", "3 min ago", "aaa111000000"):
        assert words in rows[1]
    assert "size 224" in rows[2] and "2 h ago" in rows[2]
    assert "unreadable (about.json" in rows[3] and "3 days ago" in rows[3]
    assert "fff666-resnet18.pth" in rows[6]
    assert rows[8] == f"6 entries, 9.0 MB in {cache}"
    assert rows[9] == f"states, pictures, looks and tokens: 6.0 MB of at most 5.0 GB ({LIMIT}=5GB)"
    assert len(rows) == 10


def test_the_list_as_json_is_one_document(graft: Graft, cache: Path) -> None:
    facts = json.loads(graft("cache", "list", "--kind", "states", "--json").stdout)
    assert facts["folder"] == str(cache)
    assert facts["limit"]["bytes"] == 5_000_000_000
    assert facts["limit"]["held_bytes"] == 4 * 1_500_000 + len(json.dumps(ABOUT)) + 1 + len('{"size": 224}')
    first, second = facts["entries"]
    assert first["about"] == ABOUT and first["problem"] is None and first["files"] == 2
    assert Path(first["path"]).is_dir() and abs(time.time() - first["used"] - 200) < 60
    assert second["about"] == {} and second["problem"]
    assert facts["bytes"] == first["bytes"] + second["bytes"]


def test_clearing_removes_what_can_be_made_again_and_says_what_stays(graft: Graft, cache: Path) -> None:
    before = graft("cache", "clear", "--dry-run")
    assert before.code == 0 and "would remove 5 entries, 7.5 MB" in before.stdout.splitlines()
    assert len(left(cache)) == 6
    done = graft("cache", "clear")
    assert (done.code, done.stderr) == (0, "")
    rows = done.stdout.splitlines()
    assert [row.split()[0] for row in rows[1:6]] == ["states", "pictures", "states", "tokens", "tables"]
    assert rows[7:] == ["removed 5 entries, 7.5 MB", "weights stay: 1 entry, 1.5 MB; --kind weights clears them"]
    assert left(cache) == ["fff"]
    assert graft("cache", "clear").stdout.splitlines()[0] == "removed nothing"


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        (["--kind", "weights"], {"fff"}),
        (["--kind", "weights", "--kind", "tokens"], {"fff", "ddd"}),
        (["--older-than", "1h"], {"bbb", "ccc", "ddd", "eee"}),
        (["--older-than", "1.5w"], set()),
        (["--older-than", "7d", "--kind", "tokens"], {"ddd"}),
        (["--key", "bbb2"], {"bbb"}),
        (["--key", "fff", "--kind", "weights"], {"fff"}),
    ],
)
def test_what_is_cleared_can_be_chosen(graft: Graft, cache: Path, words: list[str], gone: set[str]) -> None:
    done = graft("cache", "clear", *words, "--json")
    assert {entry["key"][:3] for entry in json.loads(done.stdout)["removed"]} == gone
    assert set(left(cache)) == {"aaa", "bbb", "ccc", "ddd", "eee", "fff"} - gone


def test_what_killed_runs_left_is_shown_and_cleared(graft: Graft, cache: Path) -> None:
    fill(cache / "states", ".trash-1-x", about={})
    fill(cache / "states", f".partial-{os.getpid()}-x", about={})
    rows = graft("cache", "list").stdout.splitlines()
    assert rows[-2:] == [
        "left by runs that were killed: 1.5 MB; graft cache clear removes it",
        "being written, or left by a run that was killed just now: 1.5 MB",
    ]
    done = graft("cache", "clear", "--key", "aaa")
    assert "removed what runs that were killed had left: 1.5 MB" in done.stdout.splitlines()
    assert ".tr" not in left(cache) and ".pa" in left(cache)


def test_a_kind_that_is_a_link_is_named_and_left_alone(graft: Graft, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("x")
    (cache / "mine").symlink_to(tmp_path / "photos")
    assert "mine is a link to another place: neither listed nor cleared" in graft("cache", "list").stdout
    assert graft("cache", "clear", "--kind", "mine").code == 2
    assert (tmp_path / "photos" / "cat.jpg").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["clera"], "Did you mean 'clear'?"),
        (["clear", "--kidn", "states"], "Did you mean --kind?"),
        (["clear", "--kind", "stats"], "Did you mean states?"),
        (["list", "--kind", "stats"], "Did you mean states?"),
        (["clear", "--older-than", "7"], "Write 30min, 12h, 7d or 2w"),
        (["clear", "--older-than", "-7d"], "7d or 2w"),
        (["clear", "--key", ""], "Leave it out"),
        (["clear", "--key", "zz"], "no key begins with 'zz'. See graft cache list"),
        (["clear", "--key", "fff"], "add --kind weights"),
        (["clear", "states"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_line_and_removes_nothing(graft: Graft, cache: Path, words: list[str], says: str) -> None:
    done = graft("cache", *words)
    assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert says in done.errors[0]
    assert len(left(cache)) == 6


def test_a_limit_that_is_no_size_is_one_line(graft: Graft, cache: Path) -> None:
    done = graft("cache", "list", env={LIMIT: "plenty"})
    assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert f"{LIMIT}: 'plenty' is no size. Write 20GB" in done.errors[0]


def test_alone_it_says_what_it_can_do(graft: Graft) -> None:
    done = graft("cache")
    assert done.code == 0 and LIMIT in done.stdout
    assert {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")} >= {"list", "clear"}


def test_where_nothing_was_ever_kept_both_commands_say_so(graft: Graft, tmp_path: Path) -> None:
    nowhere = {"GRAFTWORK_CACHE": str(tmp_path / "nowhere")}
    assert graft("cache", "list", env=nowhere).stdout.splitlines()[0] == f"nothing in {tmp_path / 'nowhere'}"
    assert graft("cache", "clear", env=nowhere).stdout == "removed nothing\n"
    assert not (tmp_path / "nowhere").exists()


def test_a_cache_that_is_a_file_is_one_line(graft: Graft, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = graft("cache", "list", env={"GRAFTWORK_CACHE": str(tmp_path / "file")})
    assert (done.code, len(done.stderr.splitlines())) == (2, 1)
    assert "Not a directory" in done.errors[0] and "Set GRAFTWORK_CACHE" in done.errors[0]


def test_a_cache_that_cannot_be_written_is_listed_and_clearing_it_fails_in_one_line(
    graft: Graft, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that is read only: root, too, may not write there."""
    monkeypatch.setenv("GRAFTWORK_CACHE", str(small_disk))
    for key in ("aaa", "bbb"):
        fill(small_disk / "states", key, about=ABOUT)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "2 entries, 3.0 MB" in graft("cache", "list").stdout
    done = graft("cache", "clear")
    assert (done.code, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)
    assert str(small_disk / "states") in done.errors[0] and "Read-only file system) (and 1 more)" in done.errors[0]
    assert not make_room(1000)
    assert len(entries()) == 2
    assert f"{small_disk} cannot be written" in examine_caches()["problem"]


TRAIN = (
    "train", "--task", "image-classification", "--data", "sample:digits", "--limit-train", "20", "--epochs", "2",
    "--strategy", "linear-probe", "--workers", "0", "--device", "cpu",
)  # fmt: skip


@pytest.mark.acceptance
def test_a_run_that_cannot_keep_anything_says_so_once_and_trains_the_same(graft: Graft, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    weights = []
    for cache in (tmp_path / "file" / "cache", tmp_path / "cache"):
        out = tmp_path / f"beside-{cache.parent.name}"
        done = graft(*TRAIN, "--backbone", "graftnet-s", "--out", out, env={"GRAFTWORK_CACHE": str(cache)})
        assert done.code == 0, done.stderr
        told = [line for line in done.stderr.splitlines() if line.startswith("cache:")]
        assert told == (
            [
                f"cache: {cache} cannot be written (Not a directory): going on without. "
                "Set GRAFTWORK_CACHE to a folder of yours that can be read and written"
            ]
            if cache.parent.name == "file"
            else []
        )
        weights.append((out / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


def test_weights_that_cannot_be_put_anywhere_are_one_line_with_the_folder_and_the_way_out(
    graft: Graft, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = graft(
        *TRAIN, "--backbone", "resnet18", "--out", tmp_path / "run", env={"GRAFTWORK_CACHE": str(tmp_path / "file")}
    )
    assert (done.code, len(done.errors)) == (2, 1)
    assert f"{tmp_path}/file/weights: cannot be made (Not a directory). Set GRAFTWORK_CACHE" in done.errors[0]


def test_room_is_made_on_a_disk_that_is_full_whatever_the_limit(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(small_disk))
    monkeypatch.setenv(LIMIT, "1TB")
    for number in range(3):
        fill(small_disk / "states", str(number), size=4 << 20, idle=100 - number, about={})
    assert not make_room(20 << 20) and len(entries()) == 3
    assert make_room(7 << 20) and sorted(entry.key for entry in entries()) == ["1", "2"]


def test_the_default_limit_stays_the_same_while_the_cache_fills(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(small_disk))
    monkeypatch.delenv(LIMIT, raising=False)
    before, reason = size_limit(0)
    assert 0.9 * (4 << 20) < before <= 4 << 20 and "a quarter" in reason
    fill(small_disk / "states", "a", size=3 << 20, about={})
    held = sum(entry.bytes for entry in entries())
    assert abs(size_limit(held)[0] - before) < 50_000


def test_the_doctor_says_where_the_caches_lie_how_large_they_are_and_the_limit(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = examine_caches()
    assert caches["states"] == f"{cache / 'states'}, 3.0 MB"
    assert caches["weights"] == f"{cache / 'weights'}, 1.5 MB"
    assert caches["limit"] == f"5.0 GB for states, pictures, looks, tokens ({LIMIT}=5GB)"
    assert "problem" not in caches
    monkeypatch.setenv(LIMIT, "plenty")
    assert "'plenty' is no size" in examine_caches()["problem"]
