"""The cache with several processes at once, and with processes that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from graftwork.cache.entries import entries, sweep
from graftwork.cache.room import LIMIT, cache_folder

MINUTE = 60.0


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAFTWORK_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv(LIMIT, raising=False)
    return tmp_path / "cache"


@contextmanager
def process(script: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that is dead in the end, whatever happens."""
    pipe = subprocess.PIPE
    words = [sys.executable, "-c", script]
    started = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=os.environ)
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


def entry(key: str, files: int = 1, size: int = 100, idle: float = 0.0) -> Path:
    segment = cache_folder("states") / key / "segment-1"
    segment.mkdir(parents=True)
    for number in range(files):
        (segment / str(number)).write_bytes(bytes(size))
    (segment.parent / "about.json").write_text("{}")
    then = time.time() - idle
    os.utime(segment.parent / "about.json", (then, then))
    return segment.parent


WRITER = """
import time, torch
from contextlib import suppress
from graftwork.cache.room import cache_folder
from graftwork.cache.rows import RowStore
print("ready", flush=True)
found = gone = rounds = 0
end = time.monotonic() + 3
while time.monotonic() < end:
    for key in range(3):
        store = RowStore(cache_folder("states") / str(key), {"backbone": "toy", "key": key})
        digests = [bytes([65 + key, 65 + row]) for row in range(4)]
        gone += rounds > 0 and bool(store.missing(digests))
        # Cleared twice in the same blink, a write is given up, and a run goes on without.
        with suppress(OSError), store.writing() as writer:
            writer.add(digests, {"pooled": torch.arange(4.0)[:, None] + 10 * key})
        rows = store.open(digests)
        if rows is not None:
            assert torch.equal(rows.gather([2, 0])["pooled"], torch.tensor([[2.0], [0.0]]) + 10 * key)
            found += 1
    rounds += 1
print(found, gone)
"""
COMMANDS = """
import io, json, sys, contextlib
from graftwork.cli import main
removed = 0
while True:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        assert main(%r) == 0
    facts = json.loads(text.getvalue())
    for entry in facts.get("removed", facts.get("entries")):
        assert set(entry["key"]) <= set("012"), entry
        removed += 1
    print(removed, file=sys.__stdout__, flush=True)
"""


def test_clearing_listing_and_writing_at_once_disturb_nobody(cache: Path) -> None:
    clear, show = (COMMANDS % (["cache", what, "--json"],) for what in ("clear", "list"))
    with process(WRITER) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        with process(clear) as first, process(clear) as second, process(show) as third:
            out, error = writer.communicate(timeout=120)
            assert writer.returncode == 0, error
            for other in (first, second, third):
                assert other.poll() is None, other.communicate()[1]
                other.kill()
                lines = other.communicate()[0].split()
                assert int(lines[-1]) > 0, "saw nothing: the processes did not meet"
    found, gone = map(int, out.split())
    assert found > 0 and gone > 0, "entries were never read or never cleared"
    assert sweep().alive == 0
    assert [path.name for path in cache.glob("states/.*")] == []


def test_an_entry_whose_removal_is_killed_is_never_seen_again(cache: Path) -> None:
    """The process dies while it deletes the files one by one."""
    script = "from graftwork.cli import main; main(['cache', 'clear'])"
    for trial in range(10):
        entry(f"entry-{trial}", files=4000, size=1)
        with process(script) as clearing:
            while clearing.poll() is None and not list(cache.glob("states/.trash-*")):
                pass
            clearing.send_signal(signal.SIGKILL)
            clearing.wait()
        if trash := list(cache.glob("states/.trash-*")):
            assert entries() == []
            assert sweep().gone == len(trash)
            assert not list(cache.glob("states/.*"))
            return
    pytest.fail("no process could be killed in time")


def test_a_file_whose_writing_is_killed_is_never_used_and_swept_later(cache: Path) -> None:
    script = (
        "import time\nfrom graftwork.cache.room import cache_folder, write_once\n"
        "def write(path):\n    path.write_bytes(bytes(1000))\n    print('half', flush=True)\n    time.sleep(60)\n"
        "write_once(cache_folder('tokens') / 'texts.arrow', write)\n"
    )
    with process(script) as writing:
        assert writing.stdout is not None and writing.stdout.readline() == "half\n"
        assert sweep().alive_bytes == 1000
        writing.send_signal(signal.SIGKILL)
        writing.wait()
    assert entries() == []
    (left,) = (cache / "tokens").iterdir()
    assert sweep().alive == 1, "it may run on another machine"
    then = time.time() - 11 * MINUTE
    os.utime(left, (then, then))
    assert sweep().gone == 1 and not left.exists()


def test_two_processes_that_make_room_at_once_remove_no_more_than_one_would(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(LIMIT, "100000")
    script = (
        "import sys\nfrom graftwork.cache.room import make_room\n"
        "print('ready', flush=True)\nsys.stdin.readline()\nprint(make_room(30_000))\n"
    )
    for _ in range(5):
        for number in range(10):
            if not (cache / "states" / f"used-{number}").exists():
                entry(f"used-{number}", files=4, size=2499, idle=1000 - 60 * number)
        with process(script) as first, process(script) as second:
            for one in (first, second):
                assert one.stdout is not None and one.stdout.readline() == "ready\n"
            for one in (first, second):  # both wait for this line, so they begin within microseconds
                assert one.stdin is not None
                one.stdin.write("go\n")
                one.stdin.flush()
            answers = [one.communicate(timeout=60)[0].strip() for one in (first, second)]
        assert answers == ["True"] * 2
        assert sorted(found.key for found in entries()) == [f"used-{number}" for number in range(3, 10)]
