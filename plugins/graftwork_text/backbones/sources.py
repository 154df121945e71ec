"""Pretrained encoders from a folder or the Hugging Face hub: safetensors and JSON only, no code from there is ever run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from graftwork import RunFailed, UsageError
from graftwork.interfaces import Pretrained
from graftwork_text.backbones.staged import build_upstream, positions

SCHEME = "hf:"
_WAY_OUT = "Give a folder with config.json, model.safetensors and tokenizer.json, or minilm-l6"
_WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
_LEAST, _SANE = 8, 1 << 17
"""Tokens; a limit outside is a placeholder (tokenizers write 10^30 for none)."""


def open_pretrained(reference: str) -> Pretrained:
    """An encoder from `hf:NAME[@REVISION]` or a folder.

    Raises:
        UsageError: it has no configuration, no safetensors weights or no tokenizer, needs code of its own, or cannot be cut.
        RunFailed: the hub cannot be reached and it was not downloaded before, or there is none of that name.
    """
    if reference.startswith(SCHEME):
        folder, revision = _from_hub(reference)
    else:
        folder, revision = Path(reference).expanduser(), ""
    config = _read_json(folder, "config.json", reference)
    if config is None:
        raise UsageError("holds no config.json", where=reference, hint=_WAY_OUT)
    for name in ("_name_or_path", "transformers_version", "architectures", "torch_dtype", "dtype"):
        config.pop(name, None)
    if config.pop("auto_map", None) and "model_type" not in config:
        raise UsageError("needs code of its own, which is never run", where=reference, hint=_WAY_OUT)
    text = json.dumps(config, sort_keys=True)
    try:
        limit = positions(build_upstream(text).config)
    except UsageError as error:
        raise UsageError(error.what, where=reference, hint=error.hint or _WAY_OUT) from None
    options = {"config": text, "pooling": _pooling(folder, reference), "length": 0}
    length = _length(folder, reference, limit)
    tokenizer = _tokenizer(folder, reference)
    about = {"revision": revision} if revision else {}
    return Pretrained(options, _weights(folder, reference), {"tokenizer": tokenizer, "length": length}, about)


def _from_hub(reference: str) -> tuple[Path, str]:
    """The folder of a downloaded repository, and the commit that it is."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

    name, _, revision = reference.removeprefix(SCHEME).partition("@")
    try:
        found = snapshot_download(name, revision=revision or None, allow_patterns=_WANTED)
    except RepositoryNotFoundError:
        raise RunFailed("is not on the hub, or is private", where=reference, hint=_WAY_OUT) from None
    except RevisionNotFoundError:
        raise RunFailed(f"has no revision {revision!r} on the hub", where=reference, hint=_WAY_OUT) from None
    except Exception as error:  # a library boundary: network layers raise whatever they raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise RunFailed(
            f"the hub cannot be reached, and it was not downloaded before ({lines[0][:120].rstrip('.')})",
            where=reference,
            hint=_WAY_OUT,
        ) from None
    return Path(found), Path(found).name


def _weights(folder: Path, where: str) -> tuple[Path, ...]:
    index = _read_json(folder, "model.safetensors.index.json", where)
    if index is not None:
        names = sorted({str(name) for name in index.get("weight_map", {}).values()})
        files = [folder / Path(name).name for name in names]  # names only: an index must not lead out of the folder
    else:
        single = folder / "model.safetensors"
        files = [single] if single.is_file() else sorted(folder.glob("*.safetensors"))
    if not files or not all(file.is_file() for file in files):
        pickles = [path.name for path in folder.glob("*.bin")]
        what = f"has no safetensors weights, only {', '.join(pickles[:3])}" if pickles else "has no safetensors weights"
        raise UsageError(what, where=where, hint="Save it with transformers' save_pretrained, which writes safetensors")
    return tuple(files)


def _tokenizer(folder: Path, where: str) -> str:
    """The text of tokenizer.json, made from the older files where there is none."""
    path = folder / "tokenizer.json"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    from transformers import AutoTokenizer

    try:
        made: str = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False).backend_tokenizer.to_str()
        return made
    except Exception as error:  # a library boundary
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(f"has no tokenizer that can be read ({lines[0][:120]})", where=where, hint=_WAY_OUT) from None


def _pooling(folder: Path, where: str) -> str:
    """How sentence-transformers pools, where it says so."""
    facts = _read_json(folder, "1_Pooling/config.json", where) or {}
    if facts.get("pooling_mode_mean_tokens"):
        return "mean"
    return "cls" if facts.get("pooling_mode_cls_token") else "auto"


def _length(folder: Path, where: str, limit: int) -> int:
    sentence = _read_json(folder, "sentence_bert_config.json", where) or {}
    tokenizer = _read_json(folder, "tokenizer_config.json", where) or {}
    said = [sentence.get("max_seq_length"), tokenizer.get("model_max_length")]
    return min([limit, *(int(value) for value in said if isinstance(value, int | float) and _LEAST <= value <= _SANE)])


def _read_json(folder: Path, name: str, where: str) -> dict[str, Any] | None:
    path = folder / name
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{name} cannot be read ({error})", where=where) from None
    return found
