"""Folders that hold something else than a model to be opened: what they are, and the command that leads on."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

from graftwork import UsageError
from graftwork_text.backbones.reading import read_object

WAY_OUT = "Give a folder with config.json, model.safetensors and tokenizer.json, or minilm-l6"

_ADAPTED = {
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
}
_LABELS = re.compile(r"(^|\.)(classifier|score)(\.out_proj|\.modules_to_save(\.\w+)?)*\.weight$")
_SHOWN = 3


def python_command(code: str) -> str:
    """A line of Python as a command for a shell."""
    return f"python -c {shlex.quote(code)}"


def beside(where: str, ending: str) -> str:
    """A new folder's name for what is made from a reference: beside a folder, or here for a name on the hub."""
    name = source_name(where)
    return f"{Path(name).name if where.startswith('hf:') else name.rstrip('/')}-{ending}"


def source_name(where: str) -> str:
    """What transformers calls a reference: a folder, or a name on the hub."""
    return where.removeprefix("hf:").partition("@")[0] if where.startswith("hf:") else str(Path(where).expanduser())


def refuse_adapter(folder: Path, where: str) -> None:
    """Refuse a folder that peft wrote.

    Raises:
        UsageError: it holds an adapter, with the command that joins it to its model.
    """
    whole = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
    if not (folder / "adapter_config.json").is_file() or any((folder / name).is_file() for name in whole):
        return
    config = read_object(folder, "adapter_config.json", where) or {}
    kind, base = str(config.get("peft_type") or "peft"), config.get("base_model_name_or_path")
    task = str(config.get("task_type") or "")
    what = f"holds an adapter ({kind}, adapter_config.json), which is no model without the one that it was trained on"
    if task in ("CAUSAL_LM", "SEQ_2_SEQ_LM"):
        raise UsageError(f"{what}; that is no encoder ({task})", where=where, hint=WAY_OUT)
    labels = _labels(folder / "adapter_model.safetensors")
    out, source, name = beside(where, "merged"), json.dumps(source_name(where)), _ADAPTED.get(task, "AutoModel")
    given = f", num_labels={labels}" if labels and name != "AutoModel" else ""
    code = (
        f"from transformers import {name} as M, AutoTokenizer as T; from peft import PeftModel as P; "
        f"b = {json.dumps(str(base) if base else 'BASE')}; "
        f"P.from_pretrained(M.from_pretrained(b{given}), {source}).merge_and_unload().save_pretrained({json.dumps(out)}); "
        f"T.from_pretrained(b).save_pretrained({json.dumps(out)})"
    )
    meant = "" if base else " (BASE is that model's folder or name)"
    raise UsageError(what, where=where, hint=f"Join them{meant}: {python_command(code)}; then --backbone {out}")


def _labels(path: Path) -> int | None:
    """Outputs of the classifier that lies in an adapter's file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            shapes = [file.get_slice(name).get_shape() for name in file.keys() if _LABELS.search(name)]  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    sizes = {int(shape[0]) for shape in shapes if len(shape) == 2}
    # Two layers of a classifier: the last one is the smaller.
    return min(sizes, default=None)


def no_config(folder: Path, where: str) -> UsageError:
    """The refusal of a folder without config.json, which names the folders in it that have one."""
    if (folder / "model.json").is_file():
        return UsageError("is a run of graftwork", where=where, hint=f"Give it as --backbone run:{where}")
    steps = {path.parent: _step(path.parent) for path in folder.glob("checkpoint-*/*config.json")}
    inner = sorted(steps, key=lambda path: steps[path], reverse=True)
    if inner:
        names = ", ".join(path.name for path in sorted(steps, key=lambda path: steps[path])[:_SHOWN])
        best = _best(inner[0], where)
        chosen = folder / best if best and (folder / best).is_dir() else inner[0]
        why = "the best by its trainer_state.json" if chosen.name == best else "the last one"
        what = f"holds no model itself, but checkpoints of a training ({names}{', …' if len(steps) > _SHOWN else ''})"
        return UsageError(what, where=where, hint=f"Give {why}: --backbone {shlex.quote(str(chosen))}")
    inner = sorted({path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/config.json")})
    models = [path for path in inner if "model_type" in (_object(path / "config.json"))]
    if models:
        names = ", ".join(str(path.relative_to(folder)) for path in models[:_SHOWN])
        hint = f"Give --backbone {shlex.quote(str(models[-1]))}"
        return UsageError(f"holds no config.json, but a folder in it does ({names})", where=where, hint=hint)
    return UsageError("holds no config.json", where=where, hint=WAY_OUT)


def _best(newest: Path, where: str) -> str | None:
    state = read_object(newest, "trainer_state.json", where) or {}
    best = state.get("best_model_checkpoint")
    return Path(best.replace("\\", "/")).name if isinstance(best, str) else None


def _step(path: Path) -> int:
    number = path.name.rpartition("-")[2]
    return int(number) if number.isdecimal() else -1


def _object(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
