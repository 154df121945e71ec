"""The cache: files that appear whole or not at all, what is listed, removed and swept, and the size limit."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from graftwork.cache.entries import Leftovers, cache_root, entries, kinds, linked, remove, sweep
from graftwork.cache.room import (
    DEFAULT_LIMIT,
    LIMIT,
    LIMITED,
    cache_folder,
    make_room,
    parse_size,
    size_limit,
    touch,
    write_once,
)
from graftwork.errors import UsageError

MINUTE, DAY = 60.0, 86_400.0
NOBODY = 99_999_999  # no process has this number


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(LIMIT, raising=False)
    return tmp_path / "cache"


def folder(kind: str, key: str, size: int = 1000, idle: float = 0.0, about: Any = None) -> Path:
    """An entry as runs leave it: two files in a segment of `size` bytes, last used `idle` seconds ago."""
    path = cache_folder(kind) / key
    segment = path / "segment-1"
    segment.mkdir(parents=True)
    (segment / "0.bin").write_bytes(bytes(size - 2))
    (segment / "meta.json").write_text("{}")
    (path / "about.json").write_text(json.dumps({} if about is None else about))
    age(path, idle)
    return path


def file(kind: str, key: str, size: int = 1000, idle: float = 0.0) -> Path:
    path = cache_folder(kind) / key
    path.write_bytes(bytes(size))
    age(path, idle)
    return path


def age(path: Path, seconds: float) -> None:
    """As if nobody had touched it for so long."""
    then = time.time() - seconds
    for inner in (*path.rglob("*"), path):
        os.utime(inner, (then, then))


def keys() -> list[str]:
    return sorted(entry.key for entry in entries())


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "here"))
    assert cache_root() == tmp_path / "here"
    assert not cache_root().exists()
    assert cache_folder("tables") == tmp_path / "here" / "tables"
    assert cache_folder("tables").is_dir()
    monkeypatch.delenv("GRAFTWORK_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder("tables") == tmp_path / ".cache" / "graftwork" / "tables"


def test_without_a_home_folder_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFTWORK_CACHE", "~nobody-of-that-name/cache")
    with pytest.raises(UsageError, match=r"where the home folder is\. Set GRAFTWORK_CACHE"):
        cache_root()


@pytest.mark.parametrize("kind", LIMITED)
def test_a_kind_that_only_saves_time_is_done_without_where_it_cannot_be_written_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str], kind: str
) -> None:
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "cache"
    monkeypatch.setenv("GRAFTWORK_CACHE", str(root))
    assert cache_folder(kind) == cache_folder(kind) == root / kind
    (line,) = said
    assert line.startswith(f"cache: {root} cannot be written (Not a directory): going on without. Set GRAFTWORK_CACHE")
    with pytest.raises(OSError, match="Not a directory"):
        write_once(root / kind / "x", lambda path: None)
    assert not make_room(0)


@pytest.mark.parametrize("kind", ["weights", "tables"])
def test_a_kind_that_is_needed_says_what_where_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError) as raised:
        cache_folder(kind)
    assert str(raised.value).startswith(
        f"{tmp_path}/file/{kind}: cannot be made (Not a directory). Set GRAFTWORK_CACHE"
    )


STRANGER = """
import logging, os
from graftwork.cache.room import cache_folder, make_room
from graftwork.cache.entries import nearest_folder
logging.basicConfig(format="%(message)s")
os.setuid(65534)
print(cache_folder("states"), make_room(0), nearest_folder())
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
def test_a_home_that_may_not_even_be_searched_is_one_line_too(command, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    root = tmp_path / "inner" / "cache"
    root.parent.mkdir()
    tmp_path.chmod(0o700)
    done = command([sys.executable, "-c", STRANGER], env={"GRAFTWORK_CACHE": str(root)})
    assert done.stdout.split()[:2] == [str(root / "states"), "False"], done.stderr
    assert root.is_relative_to(done.stdout.split()[2])
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["cache"] and "Permission" in done.stderr


def test_using_an_entry_marks_it_a_file_as_well_as_a_folder(cache: Path) -> None:
    old = [folder("states", "folder", idle=9 * DAY), file("tokens", "file", idle=9 * DAY)]
    folder("states", "unused", idle=DAY)
    assert entries()[0].key == "unused"
    for path in old:
        touch(path)
    assert entries()[2].key == "unused"
    touch(cache / "states" / "nowhere")
    assert len(entries()) == 3


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "x"

    def half(path: Path) -> None:
        path.write_text("ha")
        assert not target.exists()
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        write_once(target, half)
    assert list(tmp_path.iterdir()) == []

    def whole(path: Path) -> None:
        path.write_text("whole")

    write_once(target, whole)
    assert target.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_of_the_longest_name_can_be_written(tmp_path: Path) -> None:
    write_once(tmp_path / ("x" * 255), lambda path: path.write_text("whole") and None)
    assert (tmp_path / ("x" * 255)).read_text() == "whole"


def test_an_empty_or_missing_cache_lists_nothing_and_is_not_made(cache: Path) -> None:
    assert (kinds(), entries(), linked(), sweep(), make_room(0)) == ([], [], [], Leftovers(), True)
    assert not cache.exists()


def test_every_kind_is_listed_with_size_and_last_use_the_latest_first(cache: Path) -> None:
    folder("states", "old", 5000, idle=100, about={"backbone": "resnet18"})
    file("weights", "w.pth", 70, idle=50)
    folder("of-a-plugin", "new", 10)
    found = entries()
    assert [(entry.kind, entry.key, entry.files) for entry in found] == [
        ("of-a-plugin", "new", 3), ("weights", "w.pth", 1), ("states", "old", 3),
    ]  # fmt: skip
    assert [entry.bytes for entry in found] == [12, 70, 5000 + len('{"backbone": "resnet18"}')]
    assert found[2].about == {"backbone": "resnet18"} and found[2].problem is None
    assert found[2].path == cache / "states" / "old"
    assert [round((time.time() - entry.used) / 10) for entry in found] == [0, 5, 10]
    assert [entry.key for entry in entries(["states"])] == ["old"]


def test_names_with_a_dot_in_front_are_never_listed(cache: Path) -> None:
    for name in (f".partial-{os.getpid()}-x", ".trash-1-x", ".hidden"):
        folder("states", name)
    (cache / "states" / ".lock-abc").touch()
    folder(".kind", "x")
    assert entries() == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "3", "[" * 100_000, "\x00\xff", '{"a": 1' + " " * (1 << 20) + "}", None]
)
def test_an_entry_whose_facts_cannot_be_read_is_listed_with_the_problem_and_can_be_removed(
    cache: Path, text: str | None
) -> None:
    path = folder("states", "bad", 500)
    folder("states", "good")
    (path / "about.json").unlink()
    if text is not None:
        (path / "about.json").write_text(text, encoding="latin-1")
    bad = next(entry for entry in entries() if entry.key == "bad")
    assert bad.problem and "about.json" in bad.problem and bad.about == {} and bad.bytes >= 500
    assert remove(bad)
    assert keys() == ["good"]


def test_facts_that_are_a_pipe_or_a_folder_do_not_hold_the_listing(cache: Path) -> None:
    for name in ("pipe", "folder"):
        (folder("states", name) / "about.json").unlink()
    os.mkfifo(cache / "states" / "pipe" / "about.json")
    (cache / "states" / "folder" / "about.json").mkdir()
    assert all(entry.problem for entry in entries())


def test_no_link_leads_out_of_the_cache(cache: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "about.json").write_text('{"secret": 1}')
    (outside / "photo.jpg").write_bytes(bytes(10_000))
    (folder("states", "linked-facts") / "about.json").unlink()
    (cache / "states" / "linked-facts" / "about.json").symlink_to(outside / "about.json")
    (folder("states", "linked-part", 100) / "segment-2").symlink_to(outside)
    (cache / "states" / "linked-entry").symlink_to(outside)
    (cache / "states" / ".trash-1-link").symlink_to(outside)
    (cache / "states" / ".trash-1-folder").mkdir()
    (cache / "states" / ".trash-1-folder" / "link").symlink_to(outside)
    (cache / "pictures").symlink_to(outside.parent / "outside")
    file("weights", "real").rename(tmp_path / "real")
    (cache / "weights" / "link").symlink_to(tmp_path / "real")
    assert kinds() == ["states", "weights"] and linked() == ["pictures"]
    found = entries()
    assert keys() == ["link", "linked-entry", "linked-facts", "linked-part"]
    assert all(entry.bytes < 5000 and "secret" not in entry.about for entry in found)
    assert all(remove(entry) for entry in found)
    assert sweep().gone == 2
    assert list((cache / "states").iterdir()) == []
    assert sorted(path.name for path in outside.iterdir()) == ["about.json", "photo.jpg"]
    assert (tmp_path / "real").stat().st_size == 1000


def test_removing_what_another_process_removed_says_so(cache: Path) -> None:
    folder("states", "a")
    file("tokens", "b")
    for entry in entries():
        assert remove(entry)
        assert not remove(entry)
    assert keys() == [] and sweep() == Leftovers()


def test_a_run_that_has_an_entry_mapped_goes_on_reading_it(cache: Path) -> None:
    import mmap

    path = folder("states", "a", 4098)
    (path / "segment-1" / "0.bin").write_bytes(b"x" * 4096)
    with (path / "segment-1" / "0.bin").open("rb") as source:
        mapped = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    assert remove(entries()[0])
    assert not path.exists() and mapped[:] == b"x" * 4096


@pytest.mark.parametrize(
    ("name", "idle", "stays"),
    [
        (f".partial-{NOBODY}-x", 9 * MINUTE, True),  # alive on another machine, perhaps
        (f".partial-{NOBODY}-x", 11 * MINUTE, False),
        (".partial-OWN-x", 11 * MINUTE, True),
        (".partial-OWN-x", DAY + MINUTE, False),  # another process has that number now
        (".partial-1-x", 11 * MINUTE, True),
        (".partial-99999999999999999999999-x", 11 * MINUTE, True),
        (".partial-x", 11 * MINUTE, True),
        (".partial-x", DAY + MINUTE, False),
        (".trash-1-x", 0, False),
        (".resnet18.pth-abc", 23 * 60 * MINUTE, True),
        (".resnet18.pth-abc", DAY + MINUTE, False),
    ],
)
def test_what_a_process_left_goes_when_nobody_can_be_writing_it(
    cache: Path, name: str, idle: float, stays: bool
) -> None:
    name = name.replace("OWN", str(os.getpid()))  # here: processes that share tests must find the same names of cases
    path = folder("states", name, 500, idle)
    counted = Leftovers(alive=1, alive_bytes=502) if stays else Leftovers(gone=1, gone_bytes=502)
    assert sweep(dry=True) == counted and path.exists()
    assert sweep(["pictures"]) == Leftovers() and path.exists()
    assert sweep() == counted
    assert path.exists() == stays


def test_one_file_that_still_grows_keeps_all_that_is_being_written(cache: Path) -> None:
    path = folder("states", f".partial-{NOBODY}-x", 500, idle=DAY * 2)
    touch(path / "segment-1" / "0.bin")
    assert sweep().alive == 1


def test_a_lock_goes_when_it_is_old_and_locks_nothing(cache: Path) -> None:
    folder("states", "entry")
    for name, idle in (("entry", 2 * DAY), ("young", 0), ("old", 2 * DAY)):
        (cache / "states" / f".lock-{name}").touch()
        age(cache / "states" / f".lock-{name}", idle)
    assert sweep() == Leftovers(gone=1)
    assert sorted(path.name for path in (cache / "states").glob(".lock*")) == [".lock-entry", ".lock-young"]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("123", 123), ("20GB", 20_000_000_000), ("500MB", 500_000_000), ("1TiB", 1 << 40), ("1.5 KiB", 1536),
        ("7k", 7000), ("20gib", 20 << 30), ("3 B", 3), (" 2G ", 2_000_000_000),
    ],
)  # fmt: skip
def test_a_size_is_read_as_people_write_it(text: str, size: int) -> None:
    assert parse_size(text, "here") == size


@pytest.mark.parametrize("text", ["lots", "-1", "20 PB", "1e9", "GB", "1,5GB", "20GBs", "nan", "9" * 30, "٣"])
def test_a_limit_that_is_no_size_is_refused_in_one_line(
    cache: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT, text)
    for asked in (lambda: size_limit(0), lambda: make_room(1)):
        with pytest.raises(UsageError, match=rf"{LIMIT}: .*no size. Write 20GB"):
            asked()


def test_the_limit_is_never_above_what_is_meant_for_large_disks(cache: Path) -> None:
    limit, reason = size_limit(0)
    assert 0 < limit <= DEFAULT_LIMIT and "default" in reason
    assert size_limit(1 << 50)[0] == DEFAULT_LIMIT


def test_room_is_made_from_what_was_not_used_for_longest(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, kind in enumerate(("states", "pictures", "states", "pictures")):
        folder(kind, f"used-{number}", 998, idle=1000 - number)
    monkeypatch.setenv(LIMIT, "4000")
    assert make_room(0) and len(keys()) == 4
    assert make_room(1) and keys() == ["used-1", "used-2", "used-3"]
    touch(cache / "pictures" / "used-1")
    assert make_room(3000) and keys() == ["used-1"]


def test_the_entry_that_is_filled_stays(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        folder("states", str(number), 998, idle=100 - number)
    monkeypatch.setenv(LIMIT, "3000")
    assert make_room(1000, "0") and keys() == ["0", "2"]
    assert make_room(1000, "0", "2") and keys() == ["0", "2"]
    assert not make_room(1001, "0", "2") and keys() == ["0", "2"]


def test_nothing_goes_for_what_cannot_fit_anyway(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder("states", "a", 998)
    monkeypatch.setenv(LIMIT, "2000")
    assert not make_room(2001) and keys() == ["a"]
    monkeypatch.setenv(LIMIT, "1000000TB")
    assert not make_room(1 << 60) and keys() == ["a"]  # nor does the disk hold it
    monkeypatch.setenv(LIMIT, "500")
    assert not make_room(501) and keys() == []  # above the limit as it was


def test_a_limit_of_zero_keeps_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder("states", "a")
    file("tokens", "t.arrow", idle=3 * DAY)
    file("weights", "w.pth", idle=300 * DAY)
    file("tables", "t.arrow", idle=300 * DAY)
    monkeypatch.setenv(LIMIT, "0")
    assert not make_room(1)
    assert sorted(entry.kind for entry in entries()) == ["tables", "weights"]


def test_files_used_lately_stay_since_workers_open_them_by_name(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file("tokens", "lately.arrow", 1000, idle=DAY)
    file("tokens", "long-ago.arrow", 1000, idle=3 * DAY)
    folder("states", "just-now", 998)
    monkeypatch.setenv(LIMIT, "3000")
    assert make_room(1000) and keys() == ["just-now", "lately.arrow"]
    assert make_room(2000) and keys() == ["lately.arrow"]
    assert not make_room(2001) and keys() == ["lately.arrow"]


def test_downloads_neither_count_nor_go(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file("weights", "w.pth", 10_000, idle=300 * DAY)
    folder("of-a-plugin", "x", 10_000, idle=300 * DAY)
    monkeypatch.setenv(LIMIT, "1000")
    assert make_room(1000) and not make_room(1001)
    assert keys() == ["w.pth", "x"]


def test_what_other_runs_are_writing_counts(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder("states", f".partial-{os.getpid()}-x", 598)
    folder("states", f".partial-{NOBODY}-x", 598, idle=11 * MINUTE)
    monkeypatch.setenv(LIMIT, "1000")
    assert make_room(400) and not make_room(401)
    assert len(list((cache / "states").iterdir())) == 1


def test_there_is_no_room_where_the_cache_is_no_folder(cache: Path) -> None:
    cache.write_text("a file")
    assert make_room(0) is False
    with pytest.raises(UsageError, match="Set GRAFTWORK_CACHE"):
        entries()
