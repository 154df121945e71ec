"""What sentence-transformers writes beside an encoder: pooling, a dense layer, lengths. Used, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from graftwork import UsageError
from graftwork.log import say
from graftwork_text.backbones.pooling import ACTIVATIONS, POOLINGS
from graftwork_text.backbones.reading import read, read_object

_LEGACY = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
_EMBEDDING = "sentence_embedding"
_ENCODERS = ("Transformer", "BERT", "RoBERTa", "DistilBERT", "ALBERT", "CamemBERT", "XLMRoBERTa")
"""Names of its module around an encoder of transformers, the last ones from before version 0.3."""


@dataclass(frozen=True)
class Sentences:
    """What a folder says of its sentence embeddings.

    Args:
        folder: of the encoder itself.
        pooling: an option of the backbone; `auto` where nothing is said.
        dense: the layer after the pooling as JSON text, or "".
        weights: files of that layer.
        lower: whether texts are put into lower case before their tokens are made.
        length: tokens, or None.
    """

    folder: Path
    pooling: str = "auto"
    dense: str = ""
    weights: tuple[Path, ...] = ()
    lower: bool = False
    length: Any = None


def read_sentences(root: Path, where: str) -> Sentences:
    """What sentence-transformers left in a folder; nothing much where the folder is not its own.

    Raises:
        UsageError: a module or a pooling that is not used here, or a file that is damaged.
    """
    found = read(root, "modules.json", where)
    modules = [module for module in found if isinstance(module, dict)] if isinstance(found, list) else []
    folder, pooling, dense = root, "auto", ""
    weights: tuple[Path, ...] = ()
    if not modules:
        pooling = _pooling(read_object(root, "1_Pooling/config.json", where) or {}, "1_Pooling", root, where)
    scaled = False
    for at, module in enumerate(modules):
        kind = str(module.get("type", "")).rpartition(".")[2]
        # A name only: modules.json must not lead out of the folder.
        place = root / Path(str(module.get("path", ""))).name
        said = f"{place.name or '.'} ({kind})"
        ours = str(module.get("type", "")).startswith("sentence_transformers.")
        if at == 0 and ours and kind in _ENCODERS:
            folder = place
        elif kind == "Pooling" and pooling == "auto":
            config = read_object(place, "config.json", where)
            if config is None:
                raise UsageError(f"lacks {place.name}/config.json, which modules.json names", where=where)
            pooling = _pooling(config, place.name, root, where)
        elif kind == "Dense" and pooling != "auto" and not dense and not scaled:
            dense, weights = _dense(place, said, root, where)
        elif kind == "Normalize" and pooling != "auto":
            scaled = True
        elif kind != "Dropout":
            raise _unused(said, root, where)
    if scaled:
        say(
            f"{where}: heads see the embedding before Normalize; --set backbone_options.normalize=true scales it to length 1"
        )
    _say_prompt(root, where)
    about = next(
        (read_object(folder, path.name, where) for path in sorted(folder.glob("sentence_*_config.json"))), None
    )
    about = about or {}
    return Sentences(folder, pooling, dense, weights, about.get("do_lower_case") is True, about.get("max_seq_length"))


def _pooling(config: Mapping[str, Any], name: str, root: Path, where: str) -> str:
    """The pooling that a module's configuration asks for."""
    given = config.get("pooling_mode")
    if given is None:
        given = [mode for key, mode in _LEGACY.items() if config.get(key)]
        # sentence-transformers' own default, where its module says nothing else.
        given = given or (["mean"] if config else ["auto"])
    modes = [given] if isinstance(given, str) else list(given) if isinstance(given, Sequence) else [str(given)]
    if len(modes) != 1:
        what = f"its pooling joins {' and '.join(map(str, modes))}, and a backbone has one"
        hint = f'Write "pooling_mode": "{modes[0] if modes else "mean"}" into a copy\'s {name}/config.json'
        raise UsageError(what, where=where, hint=f"{hint}, without a Dense layer in modules.json" if modes else hint)
    if modes[0] != "auto" and modes[0] not in POOLINGS:
        raise UsageError(f"its pooling {modes[0]!r} is not known", where=where, hint=_alone(root))
    return str(modes[0])


def _dense(place: Path, said: str, root: Path, where: str) -> tuple[str, tuple[Path, ...]]:
    """The layer as the backbone's option, and its weights."""
    config = read_object(place, "config.json", where) or {}
    activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    name = activation.rpartition(".")[2]
    sizes = [config.get("in_features"), config.get("out_features")]
    inputs = (config.get("module_input_name", _EMBEDDING), config.get("module_output_name") or _EMBEDDING)
    fits = (
        activation.startswith("torch.nn.modules.")
        and name in ACTIVATIONS
        and all(isinstance(size, int) and 0 < size <= 65_536 for size in sizes)
        and inputs == (_EMBEDDING, _EMBEDDING)
        and not config.get("use_residual")
    )
    if not fits:
        raise _unused(said, root, where)
    files = [place / file for file in ("model.safetensors", "pytorch_model.bin") if (place / file).is_file()]
    if not files:
        raise UsageError(f"lacks the weights of {said}, which modules.json names", where=where)
    layer = {"in": sizes[0], "out": sizes[1], "bias": config.get("bias", True) is not False, "activation": name}
    return json.dumps(layer, sort_keys=True), (files[0],)


def _say_prompt(root: Path, where: str) -> None:
    about = read_object(root, "config_sentence_transformers.json", where) or {}
    name, prompts = about.get("default_prompt_name"), about.get("prompts")
    prompt = prompts.get(name) if isinstance(prompts, dict) and name is not None else None
    if prompt:
        say(
            f"{where}: its default prompt {str(prompt)[:60]!r} is not put before texts; write it into them if you want it"
        )


def _unused(said: str, root: Path, where: str) -> UsageError:
    return UsageError(f"its module {said} of sentence-transformers is not used here", where=where, hint=_alone(root))


def _alone(root: Path) -> str:
    return (
        f"The encoder alone is taken from a copy of {root} without modules.json; "
        "--set backbone_options.pooling=mean then says how to pool"
    )
