"""Strict YAML: what it reads, what it refuses, and that writing and reading agree."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftwork.errors import UsageError
from graftwork.files.yaml import parse_scalar, parse_yaml, read_yaml, to_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("1E5", 1e5), ("-.5", -0.5), (".5e1", 5.0), ("3.", 3.0), ("+7", 7), ("1_000", 1000), ("-0", 0),
        ("true", True), ("False", False), ("TRUE", True), ("null", None), ("~", None), ("", None),
        ("yes", "yes"), ("off", "off"), ("0x1F", "0x1F"), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"),
        ("007", "007"), ("1e999", "1e999"), ("nan", "nan"), (".inf", ".inf"), ("١٢", "١٢"), ("1_", 1), ("_1", "_1"),
    ],
)  # fmt: skip
def test_a_scalar_is_read_as_what_it_looks_like(text: str, value: object) -> None:
    assert parse_scalar(text) == value
    assert type(parse_scalar(text)) is type(value)


def test_a_number_too_long_for_python_stays_text() -> None:
    assert parse_scalar("9" * 5000) == "9" * 5000


def test_values_come_with_their_lines() -> None:
    value, lines = parse_yaml("a: 1\nb:\n  - x\n  - c: 1e-3\n", "f.yaml")
    assert value == {"a": 1, "b": ["x", {"c": 0.001}]}
    assert lines == {(): 1, ("a",): 1, ("b",): 3, ("b", 0): 3, ("b", 1): 4, ("b", 1, "c"): 4}


def test_quoted_scalars_and_blocks_stay_text() -> None:
    assert parse_yaml("a: '1'\nb: \"true\"\nc: |\n  2\nd: >\n  null\n", "f")[0] == {
        "a": "1", "b": "true", "c": "2\n", "d": "null\n",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "\ufeff"])
def test_nothing_is_an_empty_mapping(text: str) -> None:
    assert parse_yaml(text, "f")[0] == {}


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("a: 1\nb: 2\na: 3", "f:3:1", "key 'a' twice"),
        ("a:\n  b: 1\n  b: 1", "f:3:3", "key 'b' twice"),
        ("a: 1\n'a': 2", "f:2:1", "key 'a' twice"),
        ("a: &x 1\nb: *x", "f:1:4", "alias or anchor"),
        ("a: &x [1]", "f:1:4", "alias or anchor"),
        ("a: [1]\nb: &y {c: *y}", "f:2:4", "alias or anchor"),
        ("&k a: 1", "f:1:1", "not plain text"),
        ("*k : 1", "f:1:1", "not plain text"),
        ("? [a, b]\n: 1", "f:1:3", "not plain text"),
        ("!!str a: 1", "f:1:1", "not plain text"),
        ("a: !!python/object/apply:os.system [ls]", "f:1:4", "tag"),
        ("a: !x {b: 1}", "f:1:4", "tag"),
        ("a: ! x", "f:1:4", "tag"),
        ("&top\na: 1", "f:1:1", "alias or anchor"),
        ("- 1", "f:1", "must be a mapping"),
        ("just words", "f:1", "must be a mapping"),
        ("null", "f:1", "must be a mapping"),
        ("a: 1\n---\nb: 2", "f:2:1", "second YAML document"),
        ("a: [1, 2", "f:", "not valid YAML"),
        ("\ta: 1", "f:1:1", "not valid YAML"),
        ("a: b: c", "f:1:5", "not valid YAML"),
        ("a: \x00", "f", "not valid YAML"),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_refused_with_its_place(text: str, where: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_yaml(text, "f")
    assert str(caught.value).startswith(where)
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("depth", [70, 500, 20_000])
def test_deep_nesting_is_refused_before_it_exhausts_the_stack(depth: int) -> None:
    # PyYAML has a limit of its own since 6.0.4; which of the two speaks up does not matter.
    with pytest.raises(UsageError, match=r"nests more than|maximum nesting depth"):
        parse_yaml("a: " + "[" * depth + "]" * depth, "f")


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(20)
    )
    with pytest.raises(UsageError, match=r"^f:1:4: uses a YAML alias"):
        parse_yaml(bomb, "f")


def test_a_merge_key_is_an_ordinary_key() -> None:
    assert parse_yaml("<<: {a: 1}", "f")[0] == {"<<": {"a": 1}}


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    for name, content in (("latin.yaml", b"a: \xe9"), ("huge.yaml", b"#" * (4 * 1024 * 1024 + 1))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UsageError, match=name):
            read_yaml(tmp_path / name)
    for path in (tmp_path, tmp_path / "missing.yaml"):
        with pytest.raises(UsageError, match="cannot be read"):
            read_yaml(path)


def test_small_rates_are_written_without_a_tag() -> None:
    assert to_yaml({"lr": 1e-5}) == "lr: 1e-05\n"


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_numbers_that_are_not_finite_are_not_written(number: float) -> None:
    with pytest.raises(UsageError, match="finite"):
        to_yaml({"lr": number})


def test_ambiguous_text_is_quoted_for_other_readers_too() -> None:
    import yaml

    words = ["yes", "no", "on", "1e-3", "1e5", "007", "2024-01-01", "1:30", "null", "~", "", "true", "0x1F", ".5", "="]
    text = to_yaml({"words": words})
    assert parse_yaml(text, "f")[0] == {"words": words}
    assert yaml.safe_load(text) == {"words": words}


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), plain, max_size=4))
def test_what_is_written_is_read_back_equal(value: dict[str, object]) -> None:
    assert parse_yaml(to_yaml(value), "f")[0] == value


@given(st.text(max_size=60))
def test_no_text_at_all_brings_the_reader_down(text: str) -> None:
    try:
        value, lines = parse_yaml(text, "f")
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(value, dict)
        assert not value or set(value) <= {path[0] for path in lines if path}
