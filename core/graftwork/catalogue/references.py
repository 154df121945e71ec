"""What a user's reference to a backbone means: a catalogue name, `run:DIR`, what an entry opens. Reads model.json alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from graftwork.catalogue.catalogue import Catalogue
from graftwork.catalogue.registry import NAME_PATTERN, BackboneEntry
from graftwork.errors import UsageError, did_you_mean

RUN_SCHEME = "run:"

_LONGEST = 255  # bytes of a file's name

CARD, MODEL = "model.json", "model.safetensors"
"""The two files of a trained model."""


def backbone_entry(name: str, catalogue: Catalogue, modality: str | None = None) -> BackboneEntry:
    """The entry of a backbone by its name, of the backbone inside `run:DIR`, or of the one that opens a reference."""
    if name.startswith(RUN_SCHEME):
        return catalogue.backbone(read_model_card(Path(name[len(RUN_SCHEME) :]))["backbone"]["name"])
    opener = opened_by(name, catalogue, modality)
    if opener is None and catalogue.find("backbones", name) is None:
        raise _unknown(name, catalogue, modality)
    return catalogue.backbone(opener if opener is not None else name)


def _unknown(name: str, catalogue: Catalogue, modality: str | None) -> UsageError:
    """The error for what no backbone is called: it may be meant for a folder, a file in one, or a name of the hub."""
    backbones = catalogue.entries["backbones"]
    opens = {kind for entry in backbones.values() if modality in (None, entry.modality) for kind in entry.opens}
    path = Path(name.replace("\\", "/"))
    what = f"unknown backbone {name!r}"
    if "path" in opens and _is_folder(str(path)):
        return UsageError(what, hint=f"Did you mean --backbone {path}?")
    if "path" in opens and len(name) < _LONGEST and _is_folder(str(path.parent)) and path.is_file():
        return UsageError(f"{what}, which is a file", hint=f"Give the folder that it lies in: --backbone {path.parent}")
    try:
        catalogue.backbone(name)
    except UsageError as error:
        known = [backbone for backbone, entry in backbones.items() if modality in (None, entry.modality)]
        if ":" in name or not known:
            return error
        hint = did_you_mean(name, known)
        if opens & {"hf", "path"}:
            hint = f"{hint}. A folder must exist; a model of the hub is hf:NAME"
        return UsageError(error.what, where=error.where, hint=hint)
    raise AssertionError("a backbone of that name is found")


def opened_by(name: str, catalogue: Catalogue, modality: str | None = None) -> str | None:
    """The catalogue name of the backbone that opens a reference (`hf:NAME`, a folder); None for a catalogue name.

    Args:
        modality: of the task, where several backbones open such references.

    Raises:
        UsageError: a reference that only backbones of other modalities open.
    """
    backbones = catalogue.entries["backbones"]
    if catalogue.find("backbones", name) is not None or name.startswith(RUN_SCHEME):
        return None
    scheme, colon, _ = name.partition(":")
    kind = scheme if colon else "path"
    if not colon and not _is_folder(name):
        return None
    openers = [(backbone, entry.modality) for backbone, entry in backbones.items() if kind in entry.opens]
    if not openers:
        return None
    found = [backbone for backbone, takes in openers if modality in (None, takes)]
    if not found:
        what = f"for {modality} " if modality else ""
        raise UsageError(f"no backbone {what}opens {name!r}", hint="Give a catalogue name, see graft list backbones")
    plugins = {backbones[backbone].plugin for backbone in found}
    own = [backbone for backbone in found if backbones[backbone].plugin in catalogue.ours]
    if len(plugins) > 1 and not own:
        raise UsageError(
            f"{' and '.join(sorted(plugins))} both open {name!r}", hint="GRAFTWORK_PLUGINS=-NAME leaves one of them out"
        )
    return (own or found)[0]


def _is_folder(name: str) -> bool:
    try:
        return Path(name).expanduser().is_dir()
    except (OSError, ValueError, RuntimeError):  # too long for a name, a NUL in it, or `~nobody`
        return False


def read_model_card(run: Path) -> dict[str, Any]:
    """A run's model.json, as far as it is well formed: names are catalogue names, options plain data.

    What a third party's plugin made is named as PLUGIN:NAME, from the file's `name` and `plugin`.

    Raises:
        UsageError: there is none, or it is not one that graftwork wrote.
    """
    path = run / CARD if run.is_dir() else run
    if not path.is_file():
        hint = "Give the directory of a finished run" if run.is_dir() else "Check the path"
        raise UsageError(f"{run} holds no trained model (no {CARD})", hint=hint)
    try:
        if path.stat().st_size > 64 * 1024 * 1024:
            raise ValueError("larger than any model.json")
        card = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"is not readable JSON ({error})", where=str(path)) from None
    check_model_card(card, path)
    result: dict[str, Any] = card
    for part in ("task", "backbone", "head"):
        # On disk a name never holds a colon: what looks like module:function is refused before it is looked up.
        plugin = result[part].pop("plugin", None)
        if plugin is not None:
            result[part]["name"] = f"{plugin}:{result[part]['name']}"
    return result


def check_model_card(card: Any, path: Path) -> None:
    """Refuse anything but catalogue names and plain options where names are looked up."""
    if not isinstance(card, dict) or not str(card.get("format", "")).startswith("graftwork-model/"):
        raise UsageError("is not a graftwork model", where=str(path))
    if card["format"] != "graftwork-model/1":
        raise UsageError(
            f"has the format {str(card['format'])[:40]!r}, which this version does not read", where=str(path)
        )
    for part in ("task", "backbone", "head"):
        spec = card.get(part)
        if (
            not isinstance(spec, dict)
            or not isinstance(spec.get("name"), str)
            or not isinstance(spec.get("options"), dict)
        ):
            raise UsageError(f"has no valid {part}", where=str(path))
        if not re.fullmatch(NAME_PATTERN, spec["name"]):
            raise UsageError(f"names the {part} {spec['name'][:60]!r}, which is not a catalogue name", where=str(path))
        plugin = spec.get("plugin")
        if plugin is not None and (not isinstance(plugin, str) or not re.fullmatch(NAME_PATTERN, plugin)):
            raise UsageError(f"names a plugin of the {part} that no plugin can be called", where=str(path))
    if not isinstance(card.get("facts"), dict) or not isinstance(card.get("sha256"), str):
        raise UsageError("lacks facts or sha256", where=str(path))
