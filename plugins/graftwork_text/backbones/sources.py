"""Pretrained encoders from a folder or the Hugging Face hub: tensors and JSON only, no code from there is ever run."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from graftwork import RunFailed, UsageError
from graftwork.catalogue import offline
from graftwork.interfaces import Pretrained
from graftwork_text.backbones.reading import line, read_object
from graftwork_text.backbones.refusing import WAY_OUT, beside, no_config, python_command, refuse_adapter, source_name
from graftwork_text.backbones.sentences import Sentences, read_sentences
from graftwork_text.backbones.staging import TAKE, cut, unsupported
from graftwork_text.backbones.upstream import build_upstream, plain_config, positions
from graftwork_text.backbones.vocabulary import lower_first, own_tokenizer

SCHEME = "hf:"
_WANTED = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*_Dense/pytorch_model.bin"]
_PICKLED = ["pytorch_model.bin", "pytorch_model-*.bin"]
_UNWANTED = ["onnx/*", "openvino/*", "coreml/*", "checkpoint-*/*", "runs/*", "*.onnx_data"]
_LEAST, _SANE = 8, 1 << 17
"""Tokens; a limit outside is a placeholder (tokenizers write 10^30 for none)."""


def open_pretrained(reference: str) -> Pretrained:
    """An encoder from `hf:NAME[@REVISION]` or a folder.

    Raises:
        UsageError: it has no configuration, no weights or no tokenizer, needs code of its own, is of a family that is not
            supported, its tokenizer is not the model's own or knows tokens without embeddings, or it has modules of
            sentence-transformers that are not used here.
        RunFailed: the hub cannot be reached and it was not downloaded before, or there is none of that name.
    """
    if reference.startswith(SCHEME):
        root, revision = _from_hub(reference)
    else:
        root, revision = Path(reference).expanduser(), ""
        if not root.is_dir():
            raise UsageError("is no folder", where=reference, hint=WAY_OUT)
    refuse_adapter(root, reference)
    sentences = read_sentences(root, reference)
    folder = sentences.folder
    config = read_object(folder, "config.json", reference)
    if config is None:
        raise no_config(folder, reference)
    if config.get("quantization_config"):
        raise UsageError("holds quantised weights, which cannot be trained on", where=reference, hint=WAY_OUT)
    text, model = _checked(config, reference)
    weights = _weights(folder, reference)
    base = config.get("_name_or_path")
    tokenizer = own_tokenizer(folder, reference, model.config.vocab_size, base if isinstance(base, str) else None)
    if sentences.lower:
        tokenizer = lower_first(tokenizer)
    options = {"config": text, "pooling": sentences.pooling, "dense": sentences.dense, "length": 0}
    facts = {"tokenizer": tokenizer, "length": _length(sentences, reference, positions(model))}
    about = {"revision": revision} if revision else {}
    return Pretrained(options, (*weights, *sentences.weights), facts, about)


def _checked(config: dict[str, Any], where: str) -> tuple[str, Any]:
    """A configuration's canonical text and its model, without memory for its tensors.

    Raises:
        UsageError: it cannot be built, or its family is not supported.
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
        raise UsageError(what, where=where, hint=error.hint) from None
    except Exception:  # a library boundary: a family that nobody here has seen fails in any way
        raise UsageError(unsupported(str(config["model_type"])).what, where=where, hint=TAKE) from None
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

    def download(wanted: list[str]) -> Path:
        return Path(
            snapshot_download(
                name,
                revision=revision or None,
                allow_patterns=wanted,
                ignore_patterns=_UNWANTED,
                local_files_only=here_only,
            )
        )

    try:
        found = download(_WANTED)
        if not any(found.rglob("*.safetensors")):
            found = download([*_WANTED, *_PICKLED])
    except HFValidationError:
        raise UsageError("is no name on the hub (hf:OWNER/NAME or hf:OWNER/NAME@REVISION)", where=reference) from None
    except GatedRepoError:
        raise RunFailed("must be asked for on the hub first; `hf auth login` then opens it", where=reference) from None
    except RepositoryNotFoundError:
        raise RunFailed("is not on the hub, or is private", where=reference, hint=WAY_OUT) from None
    except RevisionNotFoundError:
        raise RunFailed(f"has no revision {revision!r} on the hub", where=reference, hint=WAY_OUT) from None
    except LocalEntryNotFoundError:
        reason = "the network is forbidden" if here_only else "the hub cannot be reached"
        raise RunFailed(f"{reason}, and it was not downloaded before", where=reference, hint=WAY_OUT) from None
    except Exception as error:  # a library boundary: network layers raise whatever they raise
        raise RunFailed(f"cannot be downloaded ({line(error)})", where=reference, hint=WAY_OUT) from None
    return found, found.name


def _weights(folder: Path, where: str) -> tuple[Path, ...]:
    """The files that together hold the tensors: safetensors, else PyTorch's own, which are read as tensors alone."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            files = [folder / name]
            break
        index = read_object(folder, f"{name}.index.json", where)
        if index is not None:
            files = _shards(index, folder, where)
            break
        files = sorted(folder.glob("*.safetensors"))
        if len(files) == 1:
            break
        if files:
            raise UsageError(
                f"has several weights files and none is model.safetensors ({files[0].name}, …)",
                where=where,
                hint=WAY_OUT,
            )
    if not files:
        kinds = ("*.bin", "*.pt", "*.pth", "*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.ckpt*")
        others = sorted(path.name for kind in kinds for path in folder.glob(kind))
        what = f"has no weights that are read here, only {', '.join(others[:3])}" if others else "has no weights"
        raise UsageError(what, where=where, hint=f"It needs model.safetensors or pytorch_model.bin. {WAY_OUT}")
    for file in files:
        _whole(file, where)
    old = next((file for file in files if file.suffix == ".bin" and not zipfile.is_zipfile(file)), None)
    if old is not None:
        out = beside(where, "converted")
        code = (
            "from transformers import AutoModel as M, AutoTokenizer as T; "
            f"[x.from_pretrained({json.dumps(source_name(where))}).save_pretrained({json.dumps(out)}) for x in (M, T)]"
        )
        what = f"holds {old.name} in PyTorch's old layout (before 1.6), or damaged, which is not read here"
        raise UsageError(what, where=where, hint=f"{python_command(code)} converts it; then --backbone {out}")
    return tuple(files)


def _whole(file: Path, where: str) -> None:
    """Refuse what was not downloaded, or not completely, before anything is spent; the tensors are not read.

    Raises:
        UsageError: a Git LFS pointer, or a safetensors file that is cut off or damaged.
    """
    from safetensors import SafetensorError, safe_open

    with file.open("rb") as stream:
        if stream.read(40).startswith(b"version https://git-lfs.github.com/spec/"):
            hint = "Fetch it in its repository with git lfs pull, or download it anew"
            raise UsageError(
                f"holds a Git LFS pointer in place of {file.name}, which was not downloaded", where=where, hint=hint
            )
    if file.suffix != ".safetensors":
        return
    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError, ValueError) as error:
        what = f"holds {file.name} that is cut off or damaged ({line(error)})"
        raise UsageError(what, where=where, hint="Download it anew") from None


def _shards(index: dict[str, Any], folder: Path, where: str) -> list[Path]:
    shards = index.get("weight_map")
    names = {str(name) for name in shards.values()} if isinstance(shards, dict) else set()
    files = [folder / Path(name).name for name in sorted(names)]  # an index must not lead out of the folder
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise UsageError(f"lacks {missing[0]}, which its index names", where=where, hint="Download it completely")
    return files


def _length(sentences: Sentences, where: str, limit: int) -> int:
    tokenizer = read_object(sentences.folder, "tokenizer_config.json", where) or {}
    said = [sentences.length, tokenizer.get("model_max_length")]
    return min([limit, *(int(value) for value in said if isinstance(value, int | float) and _LEAST <= value <= _SANE)])
