"""Files of predictions: every input has its own, and what was there before stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.errors import RunFailed
from graftwork.runs.outputs import OutputFiles, names_of

NAMES = {
    "one folder": (["in/0.png", "in/1.jpg"], ["0", "1"]),
    "folders without a clash": (["a/0.png", "b/1.png"], ["0", "1"]),
    "two folders": (["a/0.png", "b/0.png"], ["a/0", "b/0"]),
    "deep folders": (["in/a/x/0.png", "in/b/x/0.png", "in/1.png"], ["a/x/0", "b/x/0", "1"]),
    "suffixes": (["in/0.png", "in/0.jpg", "in/1.jpg"], ["0.png", "0.jpg", "1"]),
    "both": (["a/0.png", "b/0.png", "b/0.jpg"], ["a/0", "b/0.png", "b/0.jpg"]),
    "letter case": (["in/A.png", "in/a.png"], ["A.png-1", "a.png-2"]),
    "accents": (["in/\u00e9.png", "in/e\u0301.jpg"], ["\u00e9.png", "e\u0301.jpg"]),
    "one name twice": (["a/0.png", "./a/0.png", "b/0.png"], ["a/0", "a/0", "b/0"]),
    "above": (["../x/0.png", "x/0.png"], None),
    "absolute": (["/data/a/0.png", "/data/b/0.png"], ["a/0", "b/0"]),
    "long": (["in/" + "ü" * 120 + "1.png", "in/" + "ü" * 120 + "2.png"], None),
    "no stem": (["in/.png", "in/..png"], None),
}


def content(name: str) -> bytes:
    return name.removeprefix("./").encode()


@pytest.mark.parametrize("case", NAMES)
def test_inputs_have_names_of_their_own(case: str, tmp_path: Path) -> None:
    inputs, names = NAMES[case]
    files = OutputFiles(tmp_path / "out")
    files.expect(inputs)
    told = [files.write({"input": name, "mask": content(name), "drawn": b"!" + content(name)}) for name in inputs]
    if names is not None:
        assert [row["mask"] for row in told] == [str(tmp_path / "out" / f"{name}.mask.png") for name in names]
    if case != "one name twice":
        assert len({row["mask"].casefold() for row in told}) == len({row["drawn"] for row in told}) == len(inputs)
        assert [Path(row["mask"]).read_bytes() for row in told] == [content(name) for name in inputs]


@given(st.lists(st.lists(st.sampled_from(["a", "A", "b", "0.png", "0.jpg", "0.png.png", "0"]), min_size=1, max_size=3)))
@settings(max_examples=100, deadline=None)
def test_names_never_clash(parts: list[list[str]]) -> None:
    inputs = list(dict.fromkeys("/".join(part) for part in parts))
    names = names_of(inputs)
    assert len({name.casefold() for name in names.values()}) == len(inputs)
    assert not any(name.startswith(("/", "..")) for name in names.values())


def test_what_was_there_stays(tmp_path: Path) -> None:
    (tmp_path / "a.mask.png").write_bytes(b"my own")
    (tmp_path / "b.mask.png").mkdir()
    for content, name in ((b"1", "a-2.mask.png"), (b"2", "a-3.mask.png"), (b"1", "a-2.mask.png")):
        files = OutputFiles(tmp_path)
        files.expect(["in/a.jpg"])
        assert Path(files.write({"input": "in/a.jpg", "mask": content})["mask"]).name == name
    assert (tmp_path / "a.mask.png").read_bytes() == b"my own"
    assert Path(OutputFiles(tmp_path).write({"input": "b.jpg", "mask": b"1"})["mask"]).name == "b-2.mask.png"
    with pytest.raises(RunFailed, match="cannot be written"):
        OutputFiles(tmp_path / "a.mask.png").write({"input": "c.jpg", "mask": b"1"})
