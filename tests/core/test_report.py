"""The report page: complete for a finished run, honest for a killed one, and safe with hostile names."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
from matplotlib.figure import Figure as Canvas
from PIL import Image

from graftwork import UsageError
from graftwork.files.yaml import to_yaml
from graftwork.interfaces import Figure, Passages, Pictures, Section, Table, Text
from graftwork.report import RunView, compare, load_view, render
from graftwork.report.compare import differences, run_names
from graftwork.report.figures import to_svg

CLASSES = ["dress", "hat", "longsleeve", "outwear", "pants", "shirt", "shoes", "shorts", "skirt", "t-shirt"]
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(2)>",
    "--><svg onload=alert(3)>",
    "$\\frac{1}{$ {{ 7*7 }} {% raw %}",
    "long" * 200,
    "\u202eright-to-left override",
    "ملابس & 服装",
    "_hidden\nline\x00\x07",
]  # fmt: skip


def make_run(
    folder: Path,
    classes: list[str] | None = None,
    strategy: str = "lp-ft",
    accuracy: float = 0.914,
    finished: bool = True,
) -> Path:
    """A run directory as `graft train` leaves it."""
    classes = classes or CLASSES
    (folder / "predictions").mkdir(parents=True)
    origin = "clothing/test/" + classes[0]
    config = {
        "task": "image-classification", "data": "clothing", "backbone": "squeezenet1_0", "weights": "imagenet1k-v1",
        "head": "linear", "strategy": strategy, "epochs": 8, "batch_size": 32, "lr": 0.0003, "seed": 0,
        "task_options": {"augment": "light", "flip": True}, "head_options": {},
    }  # fmt: skip
    (folder / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    (folder / "plan.json").write_text(json.dumps(_plan(strategy)), encoding="utf-8")
    lines = []
    for epoch in range(1, 9 if finished else 4):
        reached = accuracy * (1 - math.exp(-epoch / 1.6))
        val = {"accuracy": reached, "macro_f1": reached - 0.03, "ece": 0.18 / epoch, "mcc": reached - 0.06}
        lines.append({"epoch": epoch, "phase": "probe" if epoch < 4 else "fine-tune", "train_loss": 2.1 * math.exp(-epoch / 3),
                      "val": val, "seconds": 11.5, "samples_per_second": 71.0})  # fmt: skip
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text if finished else text + '{"epoch": 4, "pha', encoding="utf-8")
    findings = [
        {"code": "near-duplicate-across-splits", "level": "warning", "message": f"3 images of {classes[1]} are also in train.",
         "where": [f"{origin}/{n}.jpg" for n in range(7)], "count": 7},
        {"code": "exif-rotated", "level": "note", "message": "4 images were turned upright.", "where": [], "count": 4},
        {"code": "unreadable", "level": "error", "message": "1 file is truncated.", "where": [origin], "count": 1},
    ]  # fmt: skip
    data = {"source": f"clothing ({classes[0]})", "findings": findings, "rows": {"train": 800, "validation": 225, "test": 245},
            "facts": {"classes": classes, "train_counts": [80] * len(classes)}, "fingerprint": "c0ffee" * 8}  # fmt: skip
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    if finished:
        (folder / "summary.json").write_text(json.dumps(_summary(lines, accuracy)), encoding="utf-8")
        predictions = [{"row": at, "origin": f"{origin}/{at}.jpg", "label": name, "confidence": 0.9,
                        "probabilities": json.dumps({name: 0.9})} for at, name in enumerate(classes)]  # fmt: skip
        parquet.write_table(arrow.Table.from_pylist(predictions), folder / "predictions" / "test.parquet")
        (folder / "predictions" / "test.json").write_text(json.dumps({"classes": classes}), encoding="utf-8")
    return folder


def _plan(strategy: str) -> dict[str, Any]:
    def group(name: str, lr: float, parameters: int) -> dict[str, Any]:
        return {"name": name, "lr": lr, "weight_decay": 0.01, "parameters": parameters, "tensors": 8}

    phases = [
        {"name": "probe", "epochs": 3, "frozen_stages": 13, "stages": 13, "lr": 1e-3, "schedule": "constant", "warmup": 0.0,
         "terms": [], "reason": "The head first, so that its random start does not distort the features.",
         "groups": [group("head", 1e-3, 5130)]},
        {"name": "fine-tune", "epochs": 5, "frozen_stages": 2, "stages": 13, "lr": 3e-4, "schedule": "cosine", "warmup": 0.1,
         "terms": [{"name": "L2SP", "alpha": 0.01}], "reason": "Then everything, slowly.",
         "groups": [group(f"stage{n}", 3e-4, 92_000 + n) for n in range(2, 13)] + [group("head", 3e-4, 5130)]},
    ]  # fmt: skip
    settings = [
        {"name": "epochs", "value": 8, "origin": "command line", "reason": ""},
        {"name": "lr", "value": 3e-4, "origin": "recipe lp-ft", "reason": "Kumar et al. 2022"},
        {"name": "precision", "value": "bf16", "origin": "automatic", "reason": "this CPU has AMX"},
        {"name": "task_options", "value": {"augment": "light", "flip": True}, "origin": "default", "reason": ""},
    ]
    weights = {"source": "squeezenet1_0-imagenet1k.safetensors", "fitted": 50, "missing": ["head.linear.weight"],
               "unexpected": ["classifier.1.weight", "classifier.1.bias"], "reshaped": []}  # fmt: skip
    return {"strategy": strategy, "epochs": 8, "phases": phases, "settings": settings, "weights": weights}


def _summary(lines: list[dict[str, Any]], accuracy: float) -> dict[str, Any]:
    return {
        "primary_metric": "accuracy", "val": lines[-1]["val"],
        "test": {"accuracy": accuracy + 0.01, "macro_f1": accuracy - 0.02, "ece": 0.031, "mcc": accuracy - 0.05},
        "best_epoch": 8, "seconds": 94.2, "samples_per_second": 71.3, "device": "cpu", "precision": "bf16",
        "peak_memory_bytes": 1_243_000_000, "parameters": {"total": 740_554, "trained": 736_000}, "seed": 0,
        "versions": {"graftwork": "0.1.0", "torch": "2.14.1", "python": "3.11.2"},
        "train_rows": 800, "val_rows": 225, "test_rows": 245,
        "proofs": {"frozen tensors": "24 tensors of 2 stages are bit-identical", "artifact": "reloaded, predicts the same"},
    }  # fmt: skip


def bar_figure(names: list[str]) -> Canvas:
    figure = Canvas(figsize=(4, 3))
    axes = figure.subplots()
    axes.barh(range(len(names)), range(len(names)))
    axes.set_yticks(range(len(names)), names, parse_math=False)
    return figure


class _Page(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def assert_harmless(html: str) -> None:
    page = _Page(html)
    assert not {"script", "iframe", "object", "link", "foreignobject", "base", "form"} & set(page.tags)
    for name, value in page.attributes:
        assert not name.startswith("on"), (name, value)
        if name in ("src", "href", "xlink:href"):
            assert value.startswith(("data:image/", "#")), value
        assert "javascript:" not in value.lower()
    outside = re.findall(r"(?:src|href)=\"?https?:|url\(['\"]?(?!#)|@import", html)
    assert outside == []


def test_the_page_of_a_finished_run_holds_everything(tmp_path: Path) -> None:
    run = load_view(make_run(tmp_path / "clothing-lp-ft"))
    sections = [
        Section("A section of the task", [Text("Some words."), Table(("class", "F1"), [("hat", 0.5)])]),
        Section(
            "Pictures", [Figure(bar_figure(CLASSES), "Bars."), Pictures([(Image.new("RGB", (500, 300)), "a hat")])]
        ),
    ]
    html = render(run, sections)
    page = _Page(html)
    for expected in ("0.9240", "245 rows", "1 min 34 s", "bf16", "99.4 % of 740,554", "fine-tune", "Then everything, slowly.",
                     "3 images of hat are also in train.", "and 2 more", "this CPU has AMX", "recipe lp-ft",
                     "24 tensors of 2 stages", "torch", "2.14.1", "classifier.1.weight", "A section of the task", "Some words.",
                     "Bars.", "a hat", "c0ffee"):  # fmt: skip
        assert expected in page.text, expected
    assert page.tags.count("svg") == 2
    assert page.tags.count("img") == 1
    assert_harmless(html)
    assert "best epoch" in page.text, "the curves' legend is text"


def test_a_killed_run_has_a_page_that_says_so(tmp_path: Path) -> None:
    run = load_view(make_run(tmp_path / "killed", finished=False))
    page = _Page(render(run, []))
    assert not run.finished
    assert len(run.epochs) == 3
    assert run.best_epoch == 3
    assert "has not finished" in page.text
    assert "metrics.jsonl: line 4 is not an epoch" in page.text
    assert "test accuracy" not in page.text
    assert "validation accuracy" in page.text


def test_a_directory_with_only_a_configuration_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("task: image-classification\n", encoding="utf-8")
    assert "has not finished" in render(load_view(tmp_path), [])


def test_broken_files_are_named_on_the_page(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "summary.json").write_text('{"val": ', encoding="utf-8")
    (folder / "config.yaml").write_text("a: 1\na: 2\n", encoding="utf-8")
    (folder / "data.json").write_text("[1]", encoding="utf-8")
    (folder / "predictions" / "test.parquet").write_bytes(b"not parquet")
    run = load_view(folder)
    assert [line.split(":")[0] for line in run.problems] == ["config.yaml", "summary.json", "data.json", "test.parquet"]
    text = _Page(render(run, [])).text
    assert all(name in text for name in ("config.yaml", "summary.json", "data.json", "test.parquet"))


def test_a_directory_that_is_no_run_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no run directory"):
        load_view(tmp_path)
    with pytest.raises(UsageError, match="is no run directory"):
        load_view(tmp_path / "missing")


def test_a_later_line_of_the_same_epoch_counts(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"epoch": 8, "phase": "fine-tune", "train_loss": 0.5, "val": {"accuracy": 0.5}}) + "\n")
    run = load_view(folder)
    assert len(run.epochs) == 8
    assert run.epochs[-1]["val"] == {"accuracy": 0.5}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_shown_and_does_nothing(tmp_path: Path, name: str) -> None:
    run = load_view(make_run(tmp_path / "run", classes=[name, name + " 2", "plain"]))
    sections = [
        Section(name, [Text(name), Table((name, "n"), [(name, 1)]), Pictures([(Image.new("L", (8, 8)), name)])]),
        Section("Figure", [Figure(bar_figure([name.replace("\x00", ""), "plain"]), name)]),
    ]
    html = render(run, sections)
    assert_harmless(html)
    assert_harmless(compare([run, run]))
    shown = _Page(html).text
    if name.isprintable() and "<" not in name:
        assert " ".join(name.split()) in shown
    assert "49" not in shown.split("7*7")[0][-40:], "a name is not a template"


def test_a_hostile_name_can_be_everywhere_in_a_run() -> None:
    evil = HOSTILE[0]
    line = {"epoch": 1, "phase": evil, "train_loss": 1.0, "val": {evil: 0.5}, "seconds": 1.0}
    group = {"name": evil, "lr": 1, "weight_decay": 0, "parameters": 1, "tensors": 1}
    phase = {"name": evil, "epochs": 1, "frozen_stages": 0, "stages": 1, "lr": evil, "schedule": evil, "warmup": 0.1,
             "reason": evil, "terms": [{evil: evil}], "groups": [group]}  # fmt: skip
    run = RunView(
        name=evil,
        config={"task": evil, "data": evil, "backbone": evil, "weights": evil, "head": evil, evil: evil},
        plan={"strategy": evil, "epochs": evil, "phases": [phase], "settings": [{"name": evil, "value": evil, "origin": evil}],
              "weights": {"source": evil, "fitted": evil, "missing": [evil]}},
        epochs=[line, {**line, "epoch": 2, "phase": evil + "2"}],
        summary={"primary_metric": evil, "test": {evil: evil}, "device": evil, "precision": evil, "versions": {evil: evil},
                 "proofs": {evil: evil}},
        data={"source": evil, "rows": {evil: evil}, "findings": [{"level": evil, "code": evil, "message": evil, "where": [evil]}],
              "fingerprint": evil},
        problems=(evil,),
    )  # fmt: skip
    assert_harmless(render(run, []))
    assert_harmless(compare([run, RunView(name=evil, config={"task": 1})]))


def test_the_same_figure_gives_the_same_svg_and_ids_are_unique_on_a_page(tmp_path: Path) -> None:
    assert to_svg(bar_figure(CLASSES), "one") == to_svg(bar_figure(CLASSES), "one")
    run = load_view(make_run(tmp_path / "run"))
    html = render(run, [Section("Two", [Figure(bar_figure(CLASSES)), Figure(bar_figure(CLASSES))])])
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    assert render(run, []) == render(run, [])


def test_runs_are_compared_with_the_best_marked_and_the_differences_named(tmp_path: Path) -> None:
    views = [
        load_view(make_run(tmp_path / "a" / "run", strategy="lp-ft", accuracy=0.914)),
        load_view(make_run(tmp_path / "b" / "run", strategy="scratch", accuracy=0.402)),
        load_view(make_run(tmp_path / "killed", strategy="full", finished=False)),
    ]
    html = compare(views)
    page = _Page(html)
    assert run_names(views) == ["run (1)", "run (2)", "killed"]
    for expected in ("3 runs compared", "run (2)", "0.9240", "0.4120", "killed has not finished", "736,000"):
        assert expected in page.text, expected
    assert [line[0] for line in differences(views)] == ["strategy"]
    assert re.search(r'class="number best"><bdi>0\.9240', html)
    assert not re.search(r'class="number best"><bdi>0\.4120', html)
    assert_harmless(html)


def test_runs_on_different_data_are_not_compared_in_silence(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "other")
    data = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    (folder / "data.json").write_text(json.dumps({**data, "fingerprint": "something else"}), encoding="utf-8")
    views = [load_view(make_run(tmp_path / "one")), load_view(folder)]
    assert "cannot be compared" in _Page(compare(views)).text.split("run strategy")[0]


def passages(*texts: tuple[Any, str]) -> str:
    """The HTML of a page with these passages."""
    return render(RunView(name="run"), [Section("Texts", [Passages(texts)])])


def marks(html: str) -> list[tuple[str, str, str]]:
    """Class, opacity and text of every marked piece, without the legend's."""
    found = re.findall(
        r'<mark class="(\w+)" style="background:rgba\([\d,]+,([\d.]+)\)" title="[^"]+">([^<]*)</mark>', html
    )
    assert len(found) == html.count("<mark") - 2 * html.count('class="legend"')
    return found


def test_a_passage_is_coloured_by_weight_and_its_legend_says_how() -> None:
    text = [("a ", 0.0), ("dull", -1.0), (" but ", 0.5), ("loud", 0.01), (" film", float("nan"))]
    html = passages((text, "true bad, said good"))
    assert [(kind, word) for kind, _, word in marks(html)] == [("against", "dull"), ("for", " but ")]
    strong, weak = (float(opacity) for _, opacity, _ in marks(html))
    assert 0 < weak < strong < 1
    assert "a dull but loud film" in " ".join(re.sub(r"<[^>]+>", "", html).split())
    assert "speaks against" in html and "true bad, said good" in html
    assert_harmless(html)


def test_a_passage_without_weights_has_no_legend() -> None:
    html = passages(([("only words", 0.0)], ""))
    assert "only words" in html and "<mark" not in html and "speaks for" not in html


@pytest.mark.parametrize("name", [*HOSTILE, "</p></figure><script>alert(4)</script>", "&lt;script&gt;"])
def test_a_hostile_passage_is_shown_and_does_nothing(name: str) -> None:
    html = passages(([(name, 1.0), (" and ", 0.0), (name, -0.4)], name))
    assert_harmless(html)
    assert len(marks(html)) == (2 if len(name) < 600 else 1)


def test_signs_that_nobody_sees_are_shown_by_number_and_writing_keeps_its_joiners() -> None:
    html = passages(
        ([("pay\u200bpal \u202egnp\u202c \x00 \ufeff", 0.5), ("می\u200cخواهم 👨\u200d👩\u200d👧", 0.9)], "")
    )
    assert "pay⟨U+200B⟩pal ⟨U+202E⟩gnp⟨U+202C⟩ ⟨U+0000⟩ ⟨U+FEFF⟩" in html
    assert "می\u200cخواهم 👨\u200d👩\u200d👧" in html
    assert '<p dir="auto">' in html


def test_a_long_passage_is_cut_around_its_strongest_pieces_and_says_so() -> None:
    words = [(f"word{number} ", 0.0) for number in range(12_000)]
    words[7_000] = ("STRONG ", 1.0)
    words[11_000] = ("CONTRARY ", -0.8)
    total = sum(len(text) for text, _ in words)
    html = passages((words, "long"))
    assert [word for _, _, word in marks(html)] == ["STRONG ", "CONTRARY "]
    assert "word6999 " in html and "word0 " in html and "word5000 " not in html
    assert f"600 of {total:,} characters" in html and total > 100_000
    assert html.count("[… ") == 3
    shown = "".join(re.findall(r'<p dir="auto">(.*?)</p>', html))
    assert 600 <= len(re.sub(r"<bdi.*?</bdi>|<[^>]+>", "", shown)) <= 620


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_a_piece_longer_than_the_page_shows_is_cut_itself(weight: float) -> None:
    html = passages(([("x" * 100_000, weight)], "one word"))
    assert "600 of 100,000 characters" in html
    assert 590 < html.count("x") - passages(([("", 0.0)], "one word")).count("x") < 640
    assert len(html) < 20_000


def test_many_small_weights_keep_the_limit() -> None:
    html = passages(([(f"{number % 10}", (number % 7 - 3) / 3) for number in range(100_000)], ""))
    assert "600 of 100,000 characters" in html


def test_predictions_are_a_sequence_of_dicts_whatever_is_asked_of_them(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    lines = [{"row": row, "origin": f"{row}.png", "label": "ab"[row % 2]} for row in range(2500)]
    (folder / "predictions").mkdir(exist_ok=True)
    parquet.write_table(arrow.Table.from_pylist(lines), folder / "predictions" / "test.parquet")
    found = load_view(folder).predictions
    assert list(found) == lines
    assert (len(found), found[0], found[-1], found[2:4]) == (2500, lines[0], lines[-1], lines[2:4])
    assert next(reversed(found)) == lines[-1]
    with pytest.raises(IndexError):
        found[2500]
