"""Models from strangers: whatever is in the files, nothing is executed or imported, and one clear line says what is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save

from graftwork import UsageError
from graftwork.catalogue.references import read_model_card

CHILD = Path(__file__).with_name("hostile_child.py")
CANARY = "graftwork_canary"
HTML = "<script>alert('1')</script>\x1b[31m"

Card = dict[str, Any]
Change = Callable[[Path, Card], None]


class Payload:
    """Unpickling this runs a command."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.target}",)


def put(*path: str, value: Any) -> Change:
    """Set one value of the card."""

    def change(folder: Path, card: Card) -> None:
        inner = card
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value

    return change


def drop(*path: str) -> Change:
    def change(folder: Path, card: Card) -> None:
        inner = card
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]

    return change


def weights(make: Callable[[dict[str, torch.Tensor]], bytes], *, honest: bool = True) -> Change:
    """Write other bytes as model.safetensors; `honest` also states their sha256."""

    def change(folder: Path, card: Card) -> None:
        data = make(load_file(folder / "model.safetensors"))
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors").write_bytes(data)
        if honest:
            card["sha256"] = hashlib.sha256(data).hexdigest()

    return change


def text(content: str) -> Change:
    """Write other text as model.json."""

    def change(folder: Path, card: Card) -> None:
        card.clear()
        card["text"] = content

    return change


def link(name: str, target: str) -> Change:
    def change(folder: Path, card: Card) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)
        if name == "model.json":
            card.clear()

    return change


def pickled(state: Any) -> bytes:
    return pickle.dumps(Payload(Path.cwd() / "canary-pickle"))


def torch_saved(state: Any) -> bytes:
    import io

    buffer = io.BytesIO()
    torch.save({"head": Payload(Path.cwd() / "canary-torch")}, buffer)
    return buffer.getvalue()


def renamed(state: dict[str, torch.Tensor]) -> bytes:
    return save({name.replace("head.", "__class__."): value for name, value in state.items()})


def reshaped(state: dict[str, torch.Tensor]) -> bytes:
    return save({name: value.unsqueeze(0).contiguous() for name, value in state.items()})


def other_type(kind: torch.dtype) -> Callable[[dict[str, torch.Tensor]], bytes]:
    return lambda state: save({name: value.to(kind) for name, value in state.items()})


def header(content: bytes, length: int | None = None) -> Callable[[Any], bytes]:
    return lambda state: struct.pack("<Q", len(content) if length is None else length) + content


OVERLAP = {
    "a": {"dtype": "F32", "shape": [1 << 40, 1 << 20], "data_offsets": [0, 4]},
    "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
}

# name: what is done to a good model, and a word of the line that must come of it
REFUSED: dict[str, tuple[Change, str]] = {
    "backbone-is-a-dotted-path": (put("backbone", "name", value="torchvision.models.resnet18"), "unknown backbone"),
    "backbone-is-module-and-function": (put("backbone", "name", value=f"{CANARY}:build"), "not a catalogue name"),
    "backbone-is-a-canary-module": (put("backbone", "name", value=CANARY), "unknown backbone"),
    "backbone-is-os-system": (put("backbone", "name", value="os:system"), "not a catalogue name"),
    "backbone-is-a-path": (put("backbone", "name", value="../../etc/passwd"), "not a catalogue name"),
    "backbone-is-a-scheme": (put("backbone", "name", value="run:/tmp"), "not a catalogue name"),
    "backbone-is-dunder": (put("backbone", "name", value="__import__('os')"), "not a catalogue name"),
    "backbone-is-a-list": (put("backbone", "name", value=["resnet18"]), "no valid backbone"),
    "backbone-ends-with-a-line-break": (put("backbone", "name", value="resnet18\n"), "not a catalogue name"),
    "backbone-is-missing": (drop("backbone"), "no valid backbone"),
    "head-is-module-and-function": (put("head", "name", value=f"{CANARY}:build"), "not a catalogue name"),
    "head-is-a-template": (put("head", "name", value="{{7*7}}"), "not a catalogue name"),
    "task-is-a-dotted-path": (put("task", "name", value=f"{CANARY}.task"), "unknown task"),
    "task-is-null": (put("task", value=None), "no valid task"),
    "option-is-unknown": (put("head", "options", "factory", value=f"{CANARY}:build"), "factory"),
    "option-is-nan": (put("head", "options", "dropout", value=float("nan")), "dropout"),
    "option-is-infinite": (put("head", "options", "focal_gamma", value=float("inf")), "focal_gamma"),
    "option-is-gigantic": (put("backbone", "options", "image_size", value=10**9), "at most 2048"),
    "option-has-a-thousand-digits": (put("backbone", "options", "image_size", value=10**1000), "at most 2048"),
    "option-is-of-another-type": (put("head", "options", "dropout", value={"$ref": "os"}), "dropout"),
    "input-is-gigantic": (put("input", "resize", value=10**9), "resize"),
    "input-is-code": (put("input", "mean", value=["__import__('os')", 0, 0]), "mean"),
    "input-is-unknown": (put("input", "__class__", value="x"), "__class__"),
    "input-is-a-list": (put("input", value=[1, 2]), "input"),
    "classes-are-text": (put("facts", "classes", value="dress"), "classes"),
    "classes-are-numbers": (put("facts", "classes", value=[1, 2, 3]), "classes"),
    "classes-are-missing": (drop("facts", "classes"), "train_counts"),
    "classes-are-too-many": (put("facts", value={"classes": list("abcd"), "train_counts": [1] * 4}), "head.linear"),
    "classes-occur-twice": (put("facts", "classes", value=["hat"] * 3), "twice"),
    "counts-are-negative": (put("facts", "train_counts", value=[-1, 6, 6]), "train_counts"),
    "counts-are-gigantic": (put("facts", "train_counts", value=[10**100, 6, 6]), "train_counts"),
    "counts-are-too-few": (put("facts", "train_counts", value=[6]), "train_counts"),
    "facts-are-missing": (drop("facts"), "facts"),
    "format-is-of-the-future": (put("format", value="graftwork-model/2"), "graftwork-model/2"),
    "format-is-foreign": (put("format", value="sklearn/1"), "not a graftwork model"),
    "sha256-is-wrong": (put("sha256", value="0" * 64), "sha256"),
    "sha256-is-empty": (put("sha256", value=""), "sha256"),
    "sha256-is-missing": (drop("sha256"), "sha256"),
    "card-is-a-list": (text("[]"), "not a graftwork model"),
    "card-is-empty": (text(""), "JSON"),
    "card-is-yaml-with-a-tag": (text("!!python/object/apply:os.system ['touch canary-yaml']"), "JSON"),
    "card-nests-deeply": (text('{"format":' + "[" * 200_000 + "]" * 200_000 + "}"), "JSON"),
    "card-is-not-text": (text("\ud800"), "JSON"),
    "card-is-dev-zero": (link("model.json", "/dev/zero"), "no trained model"),
    "card-is-a-folder": (link("model.json", "/"), "no trained model"),
    "weights-are-a-pickle": (weights(pickled), "pickle"),
    "weights-are-a-torch-file": (weights(torch_saved), "pickle"),
    "weights-are-cut-off": (weights(lambda state: save(state)[:5000]), "safetensors"),
    "weights-are-empty": (weights(lambda state: b""), "safetensors"),
    "weights-have-a-huge-header": (weights(header(b"{}", (1 << 63) - 1)), "safetensors"),
    "weights-have-a-negative-header": (weights(header(b"{}", (1 << 64) - 1)), "safetensors"),
    "weights-overlap": (weights(header(json.dumps(OVERLAP).encode())), "safetensors"),
    "weights-have-other-names": (weights(renamed), "head.linear"),
    "weights-have-other-shapes": (weights(reshaped), "model.json"),
    "weights-are-integers": (weights(other_type(torch.int64)), "torch.int64"),
    "weights-are-doubles": (weights(other_type(torch.float64)), "torch.float64"),
    "weights-are-dev-zero": (link("model.safetensors", "/dev/zero"), "model.safetensors"),
    "weights-are-missing": (link("model.safetensors", "nowhere"), "model.safetensors"),
}
HARMLESS: dict[str, Change] = {
    "class-is-a-script": put("facts", "classes", value=[HTML, HTML + "2", HTML + "3"]),
    "class-is-a-template": put("facts", "classes", value=["{{ 7*7 }}", "${jndi:x}", "../../x"]),
    "weights-are-not-a-number": weights(
        lambda state: save({n: torch.full_like(v, torch.nan) for n, v in state.items()})
    ),
    "about-is-hostile": put("about", value={"__class__": HTML, "factory": f"{CANARY}:build"}),
}


@pytest.fixture(scope="module")
def outcomes(
    command: Callable[..., Any],
    trained: tuple[Path, dict[str, Any], str],
    photos: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What `graft predict` did with every hostile model; the working directory holds a module that notes its import."""
    here = tmp_path_factory.mktemp("hostile")
    (here / f"{CANARY}.py").write_text("open('canary-import', 'w').close()\n")
    before = Path.cwd()
    os.chdir(here)  # the payloads name the working directory
    try:
        for name, change in {**{n: c for n, (c, _) in REFUSED.items()}, **HARMLESS}.items():
            folder = here / name
            folder.mkdir()
            os.link(trained[0] / "model.safetensors", folder / "model.safetensors")
            card = json.loads((trained[0] / "model.json").read_text())
            change(folder, card)
            if not (folder / "model.json").is_symlink():
                content = card["text"] if set(card) == {"text"} else json.dumps(card)
                (folder / "model.json").write_text(content, errors="surrogatepass")
    finally:
        os.chdir(before)
    photo = next(iter((photos / "test" / "hat").iterdir()))
    done = command(
        [sys.executable, CHILD, photo, trained[0], *REFUSED, *HARMLESS], cwd=here, env={"PYTHONPATH": str(here)}
    )
    assert done.code == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert found[str(trained[0])]["code"] == 0
    found["canaries"] = sorted(path.name for path in here.glob("canary-*"))
    return found


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_model_is_refused_with_one_clear_line(name: str, outcomes: dict[str, Any]) -> None:
    found = outcomes[name]
    (line,) = found["err"].splitlines()
    assert line.startswith("graft: error: ") and "Traceback" not in line and "unexpected" not in line
    assert REFUSED[name][1] in line, line
    assert len(line) < 700
    assert (found["code"], found["out"]) == (2, "")
    assert found["seconds"] < 10 and found["peak_bytes"] < 4 << 30


@pytest.mark.parametrize("name", HARMLESS)
def test_a_strange_but_harmless_model_predicts_in_plain_text(name: str, outcomes: dict[str, Any]) -> None:
    found = outcomes[name]
    assert (found["code"], found["err"]) == (0, "")
    assert "\x1b" not in found["out"] and len(found["out"].splitlines()) == 1


def test_no_hostile_model_executed_or_imported_anything(outcomes: dict[str, Any]) -> None:
    assert outcomes["canaries"] == []
    for name in (*REFUSED, *HARMLESS):
        strangers = [m for m in outcomes[name]["modules"] if m.partition(".")[0] == CANARY or m == "torchvision.models"]
        assert strangers == [], name


def test_class_names_that_are_scripts_are_escaped_in_the_report(
    graft: Callable[..., Any], trained: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained[0], run)
    escaped = json.dumps(HTML)[1:-1]
    for path in (run / "model.json", run / "data.json", run / "predictions" / "test.json", run / "plan.json"):
        path.write_text(path.read_text().replace('"dress"', f'"{escaped}"'))
    (run / "report.html").unlink()
    done = graft("report", run)
    assert done.code == 0, done.stderr
    page = (run / "report.html").read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


LAUGHS = "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
BOMB = f"a: &a [x, x, x, x, x, x, x, x, x]\n{LAUGHS}"
YAML = {
    "tag": ("task: !!python/object/apply:os.system ['touch canary-yaml']\n", "config.yaml:1:7: uses the YAML tag"),
    "alias-bomb": (BOMB, "config.yaml:1:4: uses a YAML alias or anchor"),
    "merge-key": ("task: image-classification\n<<: {data: x}\n", "config.yaml:2"),
    "dotted-backbone": ("task: image-classification\ndata: sample:digits\nbackbone: os.system\n", "unknown backbone 'os.system'"),
    "factory": (f"task: image-classification\ndata: sample:digits\nbackbone: {CANARY}:build\n", "unknown backbone"),
    "observer": (f"task: image-classification\ndata: sample:digits\nobservers: [{CANARY}]\n", "unknown observer"),
    "second-document": ("task: image-classification\n---\ntask: x\n", "second YAML document"),
    "deep": ("a: " + "[" * 5000 + "]" * 5000 + "\n", "config.yaml:1"),
}  # fmt: skip


@pytest.mark.parametrize("name", YAML)
def test_a_hostile_configuration_is_refused_with_one_clear_line(
    name: str, graft: Callable[..., Any], tmp_path: Path
) -> None:
    content, expected = YAML[name]
    (tmp_path / "config.yaml").write_text(content)
    (tmp_path / f"{CANARY}.py").write_text("open('canary-import', 'w').close()\n")
    done = graft(
        "train", "--config", "config.yaml", "--out", "run", cwd=tmp_path, timeout=60, env={"PYTHONPATH": str(tmp_path)}
    )
    assert done.code == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert done.errors and expected in done.errors[0], done.stderr
    assert not list(tmp_path.glob("canary-*")) and not (tmp_path / "run" / "config.yaml").exists()


def test_reading_a_card_needs_no_plugin_and_no_torch(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"format": "graftwork-model/1", "backbone": {"name": "a:b", "options": {}}}')
    with pytest.raises(UsageError, match="no valid task"):
        read_model_card(tmp_path)
