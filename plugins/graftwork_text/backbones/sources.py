"""Pretrained encoders from a folder or the Hugging Face hub: safetensors and JSON only, no code from there is ever run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from graftwork import RunFailed, UsageError
from graftwork.catalogue import offline
from graftwork.interfaces import Pretrained
from graftwork_text.backbones.staging import cut
from graftwork_text.backbones.upstream import build_upstream, plain_config, positions

SCHEME = "hf:"
_WAY_OUT = "Give a folder with config.json, model.safetensors and tokenizer.json, or minilm-l6"
_WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model"]
_UNWANTED = ["onnx/*", "openvino/*", "coreml/*", "checkpoint-*/*", "runs/*", "*.onnx_data"]
_VOCABULARIES = ("vocab.*", "merges.txt", "*.model", "bpe.codes")
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
        if not folder.is_dir():
            raise UsageError("is no folder", where=reference, hint=_WAY_OUT)
    config = _read_json(folder, "config.json", reference)
    if config is None:
        raise UsageError("holds no config.json", where=reference, hint=_WAY_OUT)
    if config.get("quantization_config"):
        raise UsageError("holds quantised weights, which cannot be trained on", where=reference, hint=_WAY_OUT)
    text, model = _checked(config, reference)
    weights = _weights(folder, reference)
    tokenizer = _tokenizer(folder, reference, model.config.vocab_size)
    options = {"config": text, "pooling": _pooling(folder, reference), "length": 0}
    facts = {"tokenizer": tokenizer, "length": _length(folder, reference, positions(model))}
    return Pretrained(options, weights, facts, {"revision": revision} if revision else {})


def _checked(config: dict[str, Any], where: str) -> tuple[str, Any]:
    """A configuration's canonical text and its model, without memory for its tensors.

    Raises:
        UsageError: it cannot be built or cut into stages.
    """
    import torch

    try:
        plain = plain_config(json.dumps(config))
        text = json.dumps(plain, sort_keys=True)
        with torch.device("meta"):
            model = build_upstream(text)
        cut(model)
    except UsageError as error:
        what = f"needs code of its own, which is never run: {error.what}" if config.get("auto_map") else error.what
        raise UsageError(what, where=where, hint=_WAY_OUT) from None
    return text, model


def _from_hub(reference: str) -> tuple[Path, str]:
    """The folder of a downloaded repository, and the commit that it is."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name, _, revision = reference.removeprefix(SCHEME).partition("@")
    here_only = offline()
    try:
        found = snapshot_download(
            name,
            revision=revision or None,
            allow_patterns=_WANTED,
            ignore_patterns=_UNWANTED,
            local_files_only=here_only,
        )
    except HFValidationError:
        raise UsageError("is no name on the hub (hf:OWNER/NAME or hf:OWNER/NAME@REVISION)", where=reference) from None
    except GatedRepoError:
        raise RunFailed("must be asked for on the hub first; `hf auth login` then opens it", where=reference) from None
    except RepositoryNotFoundError:
        raise RunFailed("is not on the hub, or is private", where=reference, hint=_WAY_OUT) from None
    except RevisionNotFoundError:
        raise RunFailed(f"has no revision {revision!r} on the hub", where=reference, hint=_WAY_OUT) from None
    except LocalEntryNotFoundError:
        reason = "the network is forbidden" if here_only else "the hub cannot be reached"
        raise RunFailed(f"{reason}, and it was not downloaded before", where=reference, hint=_WAY_OUT) from None
    except Exception as error:  # a library boundary: network layers raise whatever they raise
        raise RunFailed(f"cannot be downloaded ({_line(error)})", where=reference, hint=_WAY_OUT) from None
    return Path(found), Path(found).name


def _weights(folder: Path, where: str) -> tuple[Path, ...]:
    index = _read_json(folder, "model.safetensors.index.json", where)
    if (folder / "model.safetensors").is_file():
        files = [folder / "model.safetensors"]
    elif index is not None:
        shards = index.get("weight_map")
        names = {str(name) for name in shards.values()} if isinstance(shards, dict) else set()
        files = [folder / Path(name).name for name in sorted(names)]  # an index must not lead out of the folder
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise UsageError(f"lacks {missing[0]}, which its index names", where=where, hint="Download it completely")
    else:
        files = sorted(folder.glob("*.safetensors"))
    if len(files) > 1 and index is None:
        raise UsageError(f"has several weights files and none is model.safetensors ({files[0].name}, …)", where=where)
    if not files:
        pickles = sorted(path.name for kind in ("*.bin", "*.pt", "*.pth", "*.h5") for path in folder.glob(kind))
        what = f"has no safetensors weights, only {', '.join(pickles[:3])}" if pickles else "has no safetensors weights"
        raise UsageError(what, where=where, hint="Save it with transformers' save_pretrained, which writes safetensors")
    return tuple(files)


def _tokenizer(folder: Path, where: str, words: int) -> str:
    """The text of tokenizer.json, made from the older files where there is none."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
        elif not any(next(folder.glob(kind), None) for kind in _VOCABULARIES):
            # transformers would make a tokenizer that knows only its special tokens.
            raise ValueError("no tokenizer.json, and no vocabulary to make it from")
        else:
            from transformers import AutoTokenizer

            made = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
            text = made.backend_tokenizer.to_str()
        size = Tokenizer.from_str(text).get_vocab_size(with_added_tokens=False)
    except Exception as error:  # a library boundary: tokenizers raises plain Exception
        raise UsageError(f"has no tokenizer that can be read ({_line(error)})", where=where, hint=_WAY_OUT) from None
    if size > words:
        raise UsageError(f"its tokenizer knows {size} tokens and its config only {words}", where=where, hint=_WAY_OUT)
    return str(text)


def _pooling(folder: Path, where: str) -> str:
    """How sentence-transformers pools, where it says so."""
    path = "1_Pooling"
    for module in _read_list(folder, "modules.json", where):
        if isinstance(module, dict) and str(module.get("type", "")).endswith("Pooling"):
            path = str(module.get("path", path))
    # A name only: modules.json must not lead out of the folder.
    facts = _read_json(folder, f"{Path(path).name}/config.json", where) or {}
    mode = str(facts.get("pooling_mode", ""))
    if facts.get("pooling_mode_mean_tokens") or mode == "mean":
        return "mean"
    return "cls" if facts.get("pooling_mode_cls_token") or mode == "cls" else "auto"


def _length(folder: Path, where: str, limit: int) -> int:
    sentence = _read_json(folder, "sentence_bert_config.json", where) or {}
    tokenizer = _read_json(folder, "tokenizer_config.json", where) or {}
    said = [sentence.get("max_seq_length"), tokenizer.get("model_max_length")]
    return min([limit, *(int(value) for value in said if isinstance(value, int | float) and _LEAST <= value <= _SANE)])


def _read_json(folder: Path, name: str, where: str) -> dict[str, Any] | None:
    found = _read(folder, name, where)
    if found is not None and not isinstance(found, dict):
        raise UsageError(f"{name} cannot be read (no JSON object)", where=where)
    return found


def _read_list(folder: Path, name: str, where: str) -> list[Any]:
    found = _read(folder, name, where)
    return found if isinstance(found, list) else []


def _read(folder: Path, name: str, where: str) -> Any:
    path = folder / name
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{name} cannot be read ({_line(error)})", where=where) from None


def _line(error: BaseException) -> str:
    """The first line of a library's message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:120].rstrip(".")
