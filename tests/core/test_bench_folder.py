"""A result set's files: what it is made of, how far its cells are, and that it never mixes two suites."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from graftwork.bench.cells import expand
from graftwork.bench.folder import CellRecord, ResultSet, plain
from graftwork.bench.suite import load_suite
from graftwork.catalogue import load_catalogue
from graftwork.errors import UsageError

SUITE = """version: 1
summary: Digits
settings: {{epochs: {epochs}}}
data:
  digits: {{task: image-classification, data: "sample:digits", chance: 0.1, reference: 1.0}}
backbones: {{graftnet-s: }}
strategies: {{{strategies}}}
"""


def begin(folder: Path, *, epochs: int = 3, strategies: str = "full: , scratch: ", resume: bool = False) -> ResultSet:
    path = folder / "small.yaml"
    path.write_text(SUITE.format(epochs=epochs, strategies=strategies))
    suite = load_suite(path)
    result = ResultSet(folder / "out")
    with result.locked():
        result.threads = result.begin(suite, expand(suite, load_catalogue()), 2, resume)  # type: ignore[attr-defined]
    return result


def end(result: ResultSet, name: str, **facts: object) -> None:
    """Write what a cell of these settings leaves behind."""
    folder = result.folder(name)
    folder.mkdir(parents=True)
    settings = {"task": "image-classification", "data": "sample:digits", "backbone": "graftnet-s"}
    settings |= {"strategy": name.split(".")[2], "seed": 0, "epochs": 3}  # type: ignore[dict-item]
    CellRecord(**{"state": "finished", "settings": settings, **facts}).write(folder)  # type: ignore[arg-type]
    (folder / "summary.json").write_text("{}")


FULL = "digits.graftnet-s.full.all.seed0"


def test_it_says_what_it_is_made_of(tmp_path: Path) -> None:
    result = begin(tmp_path)
    header = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert [cell["folder"] for cell in header["cells"]] == [FULL, "digits.graftnet-s.scratch.all.seed0"]
    assert header["cells"][0]["axes"]["strategy"] == "full"
    assert header["cells"][0]["chance"] == 0.1 and header["cells"][0]["reference"] == 1.0
    assert header["suite"] == "small" and header["summary"] == "Digits" and header["threads"] == 2
    assert (tmp_path / "out" / "suite.yaml").read_text() == (tmp_path / "small.yaml").read_text()
    assert result.header() == header


def test_a_second_benchmark_into_it_is_refused(tmp_path: Path) -> None:
    begin(tmp_path)
    with pytest.raises(UsageError, match=r"holds a benchmark already.*--resume"):
        begin(tmp_path)


def test_a_resume_keeps_the_threads_of_the_beginning(tmp_path: Path) -> None:
    path = begin(tmp_path).path / "bench.json"
    path.write_text(path.read_text().replace('"threads": 2', '"threads": 7'))
    assert begin(tmp_path, resume=True).threads == 7  # type: ignore[attr-defined]


def test_a_resume_takes_new_cells_and_refuses_other_settings_of_cells_that_were_begun(tmp_path: Path) -> None:
    result = begin(tmp_path)
    end(result, FULL)
    grown = begin(tmp_path, strategies="full: , scratch: , lp-ft: ", resume=True)
    assert len((grown.header() or {})["cells"]) == 3
    with pytest.raises(UsageError, match=r"full.all.seed0 was begun with epochs 3 and would now have 4"):
        begin(tmp_path, epochs=4, resume=True)


def test_cells_that_were_not_begun_may_change(tmp_path: Path) -> None:
    begin(tmp_path)
    begin(tmp_path, epochs=9, resume=True)


def test_a_cell_is_finished_with_record_and_summary(tmp_path: Path) -> None:
    result = begin(tmp_path)
    assert not result.finished(FULL)
    end(result, FULL)
    assert result.finished(FULL)
    (result.folder(FULL) / "summary.json").unlink()
    assert not result.finished(FULL)
    (result.folder(FULL) / "summary.json").write_text("{}")
    CellRecord("failed", "no").write(result.folder(FULL))
    assert not result.finished(FULL)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"state": "finished"}'])
def test_a_record_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "cell.json").write_text(text)
    assert CellRecord.read(tmp_path) is None


@pytest.mark.parametrize(("text", "message"), [("{", "not readable JSON"), ('{"version": 9}', "another version")])
def test_a_header_that_cannot_be_read_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    result = begin(tmp_path)
    (result.path / "bench.json").write_text(text)
    with pytest.raises(UsageError, match=message):
        begin(tmp_path, resume=True)


def test_two_benchmarks_at_once_are_refused(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = (
        "import sys, pathlib; from graftwork.bench.folder import ResultSet; from graftwork.errors import UsageError\n"
        "try:\n  with ResultSet(pathlib.Path(sys.argv[1])).locked(): print('in')\n"
        "except UsageError as error: print(error)\n"
    )
    with ResultSet(tmp_path / "out").locked():
        done = subprocess.run([sys.executable, "-c", script, tmp_path / "out"], capture_output=True, text=True)
    assert "another run is training into this directory" in done.stdout


def test_plain_settings_are_what_json_gives_back() -> None:
    assert plain({"observers": ("csv",), "lr": 0.1}) == {"observers": ["csv"], "lr": 0.1}
