"""Suites as their files say them: lines in messages, nearest names, every problem at once, the suites that are shipped."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graftwork.bench.cells import expand
from graftwork.bench.suite import find_suite, load_suite
from graftwork.catalogue import load_catalogue
from graftwork.errors import UsageError
from graftwork.files.yaml import parse_yaml, to_yaml

GOOD = """\
version: 1
summary: Two data sets
settings: {epochs: 5}
data:
  digits: {task: image-classification, data: "sample:digits", chance: 0.1, reference: 0.99}
  messages: {task: text-classification, data: "sample:messages"}
backbones:
  graftnet-s: {tasks: [image-classification]}
  graftext-s: {data: [messages]}
strategies:
  scratch:
  full: {sweep: {lr: [0.001, 0.0003]}}
labels: [10/class, 100, all]
seeds: 2
"""

CATALOGUE = load_catalogue()
SHIPPED = [name for name, entry in CATALOGUE.entries["suites"].items() if entry.plugin == "graftwork-bench"]

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_suite(text: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write_suite


def refused(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_suite(path)
    return str(caught.value)


def test_a_suite_is_read_with_its_own_names_and_defaults(write: Write) -> None:
    suite = load_suite(write(GOOD))
    assert (suite.name, suite.summary, suite.keep_models) == ("mine", "Two data sets", False)
    assert [(entry.name, entry.chance, entry.reference) for entry in suite.data] == [
        ("digits", 0.1, 0.99),
        ("messages", None, None),
    ]
    assert [entry.backbone for entry in suite.backbones] == ["graftnet-s", "graftext-s"]
    assert [entry.strategy for entry in suite.strategies] == ["scratch", "full"]
    assert suite.labels == ("10/class", "100", "all")
    assert suite.seeds == (0, 1)
    assert suite.settings.origin == {"epochs": "mine.yaml:3"}


def test_labels_and_seeds_have_defaults(write: Write) -> None:
    suite = load_suite(write(GOOD.replace("labels: [10/class, 100, all]\nseeds: 2\n", "")))
    assert (suite.labels, suite.seeds) == (("all",), (0,))


def test_seeds_may_be_a_list(write: Write) -> None:
    assert load_suite(write(GOOD.replace("seeds: 2", "seeds: [7, 3]"))).seeds == (7, 3)


def test_a_sweep_is_the_product_of_its_values_with_a_label_each(write: Write) -> None:
    sweep = "sweep: {lr: [0.001, 3e-5], strategy_options.decay: [0.5, 0.8]}"
    suite = load_suite(write(GOOD.replace("sweep: {lr: [0.001, 0.0003]}", sweep)))
    points = suite.strategies[1].points
    assert [label for label, _ in points] == [
        "lr=0.001 strategy_options.decay=0.5",
        "lr=0.001 strategy_options.decay=0.8",
        "lr=3e-05 strategy_options.decay=0.5",
        "lr=3e-05 strategy_options.decay=0.8",
    ]
    assert points[1][1].values == {"lr": 0.001, "strategy_options": {"decay": 0.8}}
    assert points[1][1].origin["lr"] == "mine.yaml:12"


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("version: 1", "version: 2", 1, "version 2"),
        ("version: 1\n", "", 1, "no version"),
        ("seeds: 2", "seed: 2", 14, "Did you mean seeds?"),
        ("seeds: 2", "seeds: 0", 14, "seeds cannot be 0"),
        ("seeds: 2", "seeds: []", 14, "seeds is empty"),
        ("seeds: 2", "seeds: [1, 1]", 14, "seeds has 1 twice"),
        ("seeds: 2", "seeds: [true]", 14, "a seed cannot be True"),
        ("seeds: 2", "keep_models: yes", 14, "keep_models must be true or false"),
        ("[10/class, 100, all]", "[0]", 13, "labels cannot be 0"),
        ("[10/class, 100, all]", "[10/klass]", 13, "Write all, a number of rows, or N/class"),
        ("[10/class, 100, all]", "[0/class]", 13, "labels cannot be '0/class'"),
        ("[10/class, 100, all]", "[100, '100']", 13, "labels has 100 twice"),
        ("epochs: 5", "epoch: 5", 3, "Did you mean epochs"),
        ("epochs: 5", "epochs: 0", 3, "epochs = 0"),
        ("epochs: 5", "budget: soon", 3, "is not a duration"),
        ("epochs: 5", "seed: 5", 3, "The list of seeds says it"),
        ("epochs: 5", "head_options.dropout: 0.1", 3, "Write head_options: {dropout: …}"),
        ("chance: 0.1", "chance: one", 5, "chance must be a number"),
        ("chance: 0.1", "chance: 0.99", 5, "reference 0.99 must be above chance 0.99"),
        ('data: "sample:digits"', "chances: 0", 5, "Did you mean chance?"),
        ('data: "sample:digits", ', "", 5, "data is missing"),
        ("  digits:", "  Digits:", 5, "'Digits' is not a name"),
        ("[image-classification]", "[image-clasification]", 8, "Did you mean image-classification"),
        ("[messages]", "[mesages]", 9, "unknown data set 'mesages' in this suite. Did you mean messages?"),
        ("[messages]", "[]", 9, "data is empty"),
        ("sweep: {lr: [0.001, 0.0003]}", "sweep: {lr: 0.1}", 12, "lr must be a list of values"),
        ("sweep: {lr: [0.001, 0.0003]}", "sweep: {lr: [0.1, -1]}", 12, "lr = -1"),
        ("sweep: {lr: [0.001, 0.0003]}", "sweep: {lr: [0.1, 0.1]}", 12, "lr has a value twice"),
        ("sweep: {lr: [0.001, 0.0003]}", "sweep: {rl: [0.1]}", 12, "unknown setting 'rl'"),
        ("sweep: {lr: [0.001, 0.0003]}", "sweep: {limit_train: [1]}", 12, "Write labels"),
        ("sweep: {lr: [0.001, 0.0003]}", "sweep: {lr.x: [1]}", 12, "'lr' has no options"),
        ("seeds: 2", "exclude: [{bakcbone: graftnet-s}]", 14, "Did you mean backbone?"),
        ("seeds: 2", "exclude: [{backbone: graftnet}]", 14, "Did you mean graftnet-s"),
        ("seeds: 2", "exclude: [{}]", 14, "names no axis"),
        ("seeds: 2", "exclude: [{labels: 50}]", 14, "unknown label budget '50' in this suite"),
        ("seeds: 2", "overrides: [{where: {data: digits}}]", 14, "an override without settings"),
        ("seeds: 2", "overrides: [{where: {data: digits}, settings: {lr: a}}]", 14, "lr = 'a'"),
        ("  scratch:\n  full: {sweep: {lr: [0.001, 0.0003]}}\n", "", 10, "strategies is missing"),
    ],
)
def test_a_mistake_is_told_with_its_line(write: Write, old: str, new: str, line: int, said: str) -> None:
    assert GOOD.count(old) == 1
    path = write(GOOD.replace(old, new))
    message = refused(path)
    assert f"{path}:{line}: " in message
    assert said in message


def test_all_mistakes_are_told_at_once(write: Write) -> None:
    text = GOOD.replace("seeds: 2", "seeds: 0").replace("epochs: 5", "epoch: 5, lr: -1").replace("0.0003", "x")
    message = refused(write(text))
    assert [f"mine.yaml:{line}: " in message for line in (3, 12, 14)] == [True, True, True]
    assert message.count("mine.yaml:3: ") == 2


def test_many_mistakes_are_cut_short_and_counted(write: Write) -> None:
    wrong = ", ".join(f"wrong{number}: 1" for number in range(20))
    assert refused(write(GOOD.replace("epochs: 5", wrong))).endswith("; and 8 more")


@pytest.mark.parametrize("text", ["", "version: 1\n", "version: 1\ndata: 3\n", "version: 1\ndata: {a: 1}\nseeds: {}\n"])
def test_a_file_without_a_suite_is_refused_and_not_a_crash(write: Write, text: str) -> None:
    assert refused(write(text))


WORDS = [
    "digits",
    "data",
    "lr",
    "task",
    "strategy",
    "full",
    "sample:digits",
    "10/class",
    "all",
    "sweep",
    "where",
    "settings",
]
SCALARS = st.none() | st.booleans() | st.integers(-2, 2**40) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | st.sampled_from(WORDS) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


def _replaced(value: Any, path: list[Any], new: Any) -> Any:
    if not path:
        return new
    if isinstance(value, list):
        return [_replaced(item, path[1:], new) if index == path[0] else item for index, item in enumerate(value)]
    return {key: _replaced(item, path[1:], new) if key == path[0] else item for key, item in value.items()}


@settings(max_examples=150, deadline=None)
@given(new=VALUES, choose=st.data())
def test_any_value_in_any_place_gives_a_suite_or_a_clear_error(new: Any, choose: st.DataObject) -> None:
    more = "exclude: [{seed: 1}]\noverrides: [{where: {data: digits}, settings: {weight_decay: 0.1}}]\n"
    value, lines = parse_yaml(GOOD + more, "mine.yaml")
    path = choose.draw(st.sampled_from([list(at) for at in lines if at]), label="place")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mine.yaml"
        file.write_text(to_yaml(_replaced(value, path, new)), encoding="utf-8")
        try:
            cells = expand(load_suite(file), CATALOGUE, Path(folder))
        except UsageError as error:
            assert str(error).startswith(str(file))
        else:
            assert cells


def test_a_suite_is_found_by_its_name_or_by_its_path(write: Write) -> None:
    path = write(GOOD)
    assert find_suite(str(path), CATALOGUE) == path
    assert load_suite(find_suite("smoke", CATALOGUE)).name == "smoke"


def test_an_unknown_suite_gets_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"unknown suite 'smokee'\. Did you mean smoke\?"):
        find_suite("smokee", CATALOGUE)


def test_a_path_that_does_not_exist_is_still_a_path() -> None:
    missing = find_suite("nowhere/smoke.yaml", CATALOGUE)
    with pytest.raises(UsageError, match=r"nowhere/smoke\.yaml: cannot be read"):
        load_suite(missing)


@pytest.mark.parametrize("name", list(CATALOGUE.entries["suites"]))
def test_every_suite_of_the_catalogue_has_its_file_with_the_same_summary(name: str) -> None:
    suite = load_suite(find_suite(name, CATALOGUE))
    assert suite.name == name and suite.summary == CATALOGUE.suite(name).summary


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_suite_says_in_one_line_what_it_is_and_what_guessing_gives(name: str) -> None:
    suite = load_suite(find_suite(name, CATALOGUE))
    assert suite.name == name
    assert 10 < len(suite.summary) < 100
    assert all(entry.chance is not None for entry in suite.data)


def test_the_suites_that_were_promised_are_shipped() -> None:
    names = {"smoke", "transfer-small", "vtab-1k-like", "glue-like", "cifar", "voc", "ade20k"}
    assert names <= set(SHIPPED)
