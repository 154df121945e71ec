"""Rows on disk: what comes back is what went in, whole or not at all, whoever else writes, reads or is killed meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from graftwork.cache.rows import DTYPES, RowStore


def digests(numbers: range) -> list[bytes]:
    return [f"{number:064x}".encode() for number in numbers]


def written(folder: Path, start: int, rows: Tensor) -> RowStore:
    store = RowStore(folder, {"what": "states"})
    with store.writing() as writer:
        writer.add(digests(range(start, start + len(rows))), {"state/x": rows})
    return store


@pytest.mark.parametrize("dtype", list(DTYPES.values()), ids=list(DTYPES))
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (4, 2, 3), (0, 3, 5)], ids=str)
@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_rows_of_every_type_and_shape_come_back_bit_for_bit(
    dtype: torch.dtype, shape: tuple[int, ...], in_memory: int, tmp_path: Path
) -> None:
    rows = (torch.randn(5, *shape) * 10).to(dtype)
    stored = written(tmp_path / "entry", 0, rows).open(digests(range(5)), in_memory)
    assert stored is not None
    found = stored.gather([3, 0, 3])["state/x"]
    assert isinstance(found, Tensor) and found.dtype == dtype
    assert torch.equal(found, rows[[3, 0, 3]])


def test_maps_come_back_in_the_memory_format_that_they_had(tmp_path: Path) -> None:
    maps = torch.randn(3, 4, 5, 6).contiguous(memory_format=torch.channels_last)
    stored = written(tmp_path / "entry", 0, maps).open(digests(range(3)))
    assert stored is not None
    found = stored.gather([2, 1])["state/x"]
    assert isinstance(found, Tensor) and torch.equal(found, maps[[2, 1]])
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_rows_of_several_sizes_and_several_segments_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    store = written(tmp_path / "entry", 0, torch.zeros(2, 3, 2))
    written(tmp_path / "entry", 2, torch.ones(2, 5, 2))
    assert store.missing(digests(range(6))) == [4, 5]
    stored = store.open(digests(range(4)))
    assert stored is not None
    found = stored.gather([3, 0])["state/x"]
    assert isinstance(found, list)
    assert [tuple(row.shape) for row in found] == [(5, 2), (3, 2)]
    assert isinstance(stored.gather([1, 0])["state/x"], Tensor)
    assert store.open(digests(range(5))) is None


def test_a_lookup_gives_the_rows_that_are_there(tmp_path: Path) -> None:
    store = written(tmp_path / "entry", 4, torch.arange(8.0).reshape(4, 2))
    written(tmp_path / "entry", 0, torch.zeros(2, 2))
    lookup = store.lookup()
    assert lookup.has(digests(range(9))).tolist() == [True, True, False, False, True, True, True, True, False]
    assert lookup.has([]).tolist() == []
    found, missing = lookup.get(digests(range(6, 1, -4)))
    assert found is not None and found["state/x"].tolist() == [4.0, 5.0]
    assert missing is None
    assert len(lookup) == 6
    nothing = RowStore(tmp_path / "nothing", {}).lookup()
    assert (len(nothing), nothing.get([b"0"]), nothing.get([])) == (0, [None], [])


def test_objects_without_any_row_are_kept_too(tmp_path: Path) -> None:
    store = RowStore(tmp_path / "entry", {})
    with store.writing() as writer:
        writer.add(digests(range(2)), {"each/boxes": [torch.zeros(0, 4), torch.ones(2, 4)]})
    stored = store.open(digests(range(2)))
    assert stored is not None
    assert [tuple(boxes.shape) for boxes in stored.gather([0, 1])["each/boxes"]] == [(0, 4), (2, 4)]


def test_what_an_exception_ends_is_not_there(tmp_path: Path) -> None:
    store = RowStore(tmp_path / "kind" / "entry", {})
    with pytest.raises(RuntimeError, match="stop"), store.writing() as writer:
        writer.add(digests(range(2)), {"state/x": torch.zeros(2, 3)})
        raise RuntimeError("stop")
    assert store.missing(digests(range(2))) == [0, 1]
    assert not list((tmp_path / "kind").iterdir())


@pytest.mark.parametrize("damage", ["shorter", "longer", "no meta", "no meta at all"])
def test_a_damaged_segment_counts_as_missing(damage: str, tmp_path: Path) -> None:
    store = written(tmp_path / "entry", 0, torch.zeros(4, 8))
    (file,) = store.folder.rglob("*.bin")
    if damage == "shorter":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "longer":
        file.write_bytes(file.read_bytes() + b"0")
    elif damage == "no meta":
        (file.parent / "meta.json").write_text("{")
    else:
        (file.parent / "meta.json").unlink()
    assert store.missing(digests(range(4))) == [0, 1, 2, 3]
    assert store.open(digests(range(4))) is None


def test_rows_that_are_read_stay_when_their_entry_is_removed(tmp_path: Path) -> None:
    rows = torch.randn(4, 8)
    store = written(tmp_path / "entry", 0, rows)
    stored = store.open(digests(range(4)))
    store.discard()
    assert stored is not None and torch.equal(torch.as_tensor(stored.gather([0, 1, 2, 3])["state/x"]), rows)
    assert store.missing(digests(range(4))) == [0, 1, 2, 3]


WRITER = """
import sys, torch
from pathlib import Path
from graftwork.cache.rows import RowStore
store = RowStore(Path(sys.argv[1]), {})
number = 0
print("ready", flush=True)
while True:
    with store.writing() as writer:
        for _ in range(4):
            rows = torch.full((16, 4096), float(number))
            writer.add([f"{number * 16 + row:064x}".encode() for row in range(16)], {"state/x": rows})
            number += 1
"""


def test_a_writer_that_is_killed_at_any_moment_leaves_only_whole_rows(tmp_path: Path) -> None:
    folder = tmp_path / "kind" / "entry"
    for moment in (0.02, 0.05, 0.11, 0.2):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        store = RowStore(folder, {})
        there = sorted(set(range(64 * 16)) - set(store.missing(digests(range(64 * 16)))))
        stored = store.open(digests(range(64 * 16))[: len(there)]) if there else None
        if there:
            assert stored is not None and there == list(range(len(there)))
            for row in there:
                found = torch.as_tensor(stored.gather([row])["state/x"])
                assert bool((found == float(row // 16)).all())
        shutil.rmtree(folder, ignore_errors=True)


def test_the_second_process_waits_for_the_one_that_fills(tmp_path: Path) -> None:
    store = RowStore(tmp_path / "kind" / "entry", {})
    said: list[str] = []
    with store.filling():
        pid = os.fork()
        if pid == 0:
            with RowStore(store.folder, {}).filling(lambda: said.append("waiting")):
                os._exit(0 if said == ["waiting"] and store.missing(digests(range(1))) == [] else 1)
        time.sleep(0.3)
        written(store.folder, 0, torch.zeros(1, 2))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
