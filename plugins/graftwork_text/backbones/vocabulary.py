"""A folder's tokenizer as one text, whose tokens are those of the model's own: the two are held against each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging import ERROR
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graftwork import UsageError
from graftwork.interfaces import TextInput
from graftwork.log import say
from graftwork_text.backbones.probes import PROBES, around
from graftwork_text.backbones.reading import line, read_object
from graftwork_text.backbones.refusing import beside, python_command, source_name
from graftwork_text.tokens import load_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_VOCABULARIES = ("vocab.*", "merges.txt", "*.model", "bpe.codes")
_CONTROL = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
"""Kinds of tokens that frame a text. Where somebody typed one, it is text; any other special token is the model's own word."""

_OWN_SHOWN = 40
_LOOKED_AT = 2_000
_ANOTHER = "Take another model, for example --backbone minilm-l6"


def own_tokenizer(folder: Path, where: str, words: int, base: str | None) -> str:
    """The text of a tokenizer.json that gives the tokens of the model's own tokenizer, as transformers opens it.

    tokenizer.json itself where it does; else what transformers makes of the folder's files. The two may differ where
    tokenizer_config.json names another class, other special tokens, or the file has no post-processor.

    Args:
        folder: with the tokenizer's files.
        where: what to call it in errors.
        words: tokens that the model has embeddings for.
        base: the model that this one was trained from, where the folder says it.

    Raises:
        UsageError: there is none, it cannot be read, neither text gives the same tokens, or it knows tokens without
            embeddings.
    """
    file = _file(folder, where, base)
    own = _opened(folder, where, file is not None)
    different = ""
    for candidate in (file, _backend(own)):
        if candidate is None:
            continue
        text, tokenizer = _own_words(*candidate, own)
        found = _first_difference(tokenizer, own)
        if found is None:
            if different:
                say(
                    f"{where}: tokenizer.json differs from its {type(own).__name__}, whose tokens are taken ({different})"
                )
            _check_embeddings(tokenizer, where, words)
            return text
        different = different or found
    if not different:
        raise UsageError(f"has a tokenizer ({type(own).__name__}) that is code alone", where=where, hint=_ANOTHER)
    what = f"its tokenizer.json does not give the tokens of its own tokenizer, {type(own).__name__}: {different}"
    raise UsageError(what, where=where, hint=_ANOTHER)


def _file(folder: Path, where: str, base: str | None) -> tuple[str, Tokenizer] | None:
    """tokenizer.json, its text and what it makes; None where there are only the older files to make one from."""
    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
            return text, load_tokenizer(TextInput(text, 1))
        except (OSError, ValueError, UsageError) as error:
            raise _unreadable(where, line(error)) from None
    if any(next(folder.glob(kind), None) for kind in _VOCABULARIES):
        return None
    # transformers would make a tokenizer that knows only its special tokens.
    source = json.dumps(base or "BASE")
    command = python_command(
        f"from transformers import AutoTokenizer as T; T.from_pretrained({source}).save_pretrained({json.dumps(str(folder))})"
    )
    meant = "" if base else ", where BASE is the model that it was trained from"
    raise _unreadable(
        where, "no tokenizer.json, and no vocabulary to make it from", f"Save its tokenizer beside it: {command}{meant}"
    )


def _opened(folder: Path, where: str, has_file: bool) -> Any:
    """The model's own tokenizer."""
    from transformers import AutoTokenizer

    try:
        with _quietly():
            return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, local_files_only=True)
    except Exception as error:  # a library boundary: transformers raises whatever its layers raise
        if not has_file:
            raise _unreadable(where, line(error)) from None
        kind = (read_object(folder, "tokenizer_config.json", where) or {}).get("tokenizer_class")
        named = f"a {kind}, as tokenizer_config.json says" if kind else "the one of its family"
        hint = 'Where tokenizer.json is right, write "tokenizer_class": "PreTrainedTokenizerFast" into tokenizer_config.json'
        raise UsageError(f"its tokenizer.json cannot be opened as {named}", where=where, hint=hint) from None


def _backend(own: Any) -> tuple[str, Tokenizer] | None:
    """What transformers made of the folder's files; None where that is Python code."""
    backend = getattr(own, "backend_tokenizer", None)
    if backend is None:
        return None
    text = str(backend.to_str())
    return text, load_tokenizer(TextInput(text, 1))


def _own_words(text: str, tokenizer: Tokenizer, own: Any) -> tuple[str, Tokenizer]:
    """The tokenizer with its special tokens that frame no text (`[USER]`, `<url>`) as ordinary added ones.

    Typed control tokens are text here, so those that the model was taught as words must not be marked as special.
    """
    control = _control(own)
    added = tokenizer.get_added_tokens_decoder().values()
    words = {token.content for token in added if token.special} - control
    if not words:
        return text, tokenizer
    plain = json.loads(text)
    for token in plain["added_tokens"]:
        token["special"] = token["special"] and token["content"] not in words
    text = json.dumps(plain, ensure_ascii=False)
    return text, load_tokenizer(TextInput(text, 1))


def _control(own: Any) -> set[str]:
    return {str(getattr(own, f"{kind}_token", None)) for kind in _CONTROL}


def _first_difference(ours: Tokenizer, own: Any) -> str | None:
    """The first text that the two cut differently, in words; None where there is none among a few hundred."""
    # The own one's too: some stand in tokenizer_config.json or added_tokens.json alone.
    known = {token.content for token in ours.get_added_tokens_decoder().values()} | own.get_added_vocab().keys()
    added = sorted(known - _control(own))
    step = max(1, len(added) // _OWN_SHOWN)
    texts = [*PROBES, *around(added[::step])]
    pairs = list(zip(texts[::3], texts[1::3], strict=False))
    for inputs in (texts, pairs):
        firsts = [text if isinstance(text, str) else text[0] for text in inputs]
        seconds = None if inputs is texts else [pair[1] for pair in pairs]
        try:
            with _quietly():
                theirs = own(firsts, seconds, return_token_type_ids=True, padding=False, truncation=False)
        except Exception as error:  # a library boundary
            return f"it cannot be compared ({line(error)})"
        types = theirs.get("token_type_ids") if seconds else None
        for at, encoding in enumerate(ours.encode_batch_fast(inputs)):
            if list(encoding.ids) != list(theirs["input_ids"][at]):
                return (
                    f"{_shown(firsts[at])} gives {len(encoding.ids)} tokens in place of {len(theirs['input_ids'][at])}"
                )
            if types is not None and list(encoding.type_ids) != list(types[at]):
                return f"the second text after {_shown(firsts[at])} is marked differently"
    return None


def _check_embeddings(tokenizer: Tokenizer, where: str, words: int) -> None:
    """Refuse tokens that the model has no embedding for, by their number."""
    known = tokenizer.get_vocab_size(with_added_tokens=False)
    if known > words:
        raise UsageError(f"its tokenizer knows {known} tokens and its config only {words}", where=where, hint=_ANOTHER)
    # Asked one by one: a dictionary of a quarter of a million tokens takes a second. A vocabulary may have holes.
    added = (number for number in tokenizer.get_added_tokens_decoder() if number >= words)
    numbers = sorted({*range(words, words + _LOOKED_AT), *added})
    named = ((number, tokenizer.id_to_token(number)) for number in numbers)
    beyond = {number: str(token) for number, token in named if token is not None}
    if not beyond:
        return
    some = ", ".join(_shown(beyond[number]) for number in sorted(beyond)[:3]) + (", …" if len(beyond) > 3 else "")
    several = "tokens were" if len(beyond) > 1 else "token was"
    source, out = json.dumps(source_name(where)), beside(where, "resized")
    code = (
        f"from transformers import AutoModel as M, AutoTokenizer as T; t = T.from_pretrained({source}); "
        f"m = M.from_pretrained({source}); m.resize_token_embeddings({max(beyond) + 1}); "
        f"[x.save_pretrained({json.dumps(out)}) for x in (t, m)]"
    )
    what = f"{len(beyond)} {several} added to its tokenizer ({some}), for which the model has no embeddings: it has {words}"
    raise UsageError(what, where=where, hint=f"{python_command(code)} makes them; then --backbone {out}")


def lower_first(text: str) -> str:
    """The tokenizer with every text in lower case first, as sentence-transformers' `do_lower_case` wants it."""
    from tokenizers.normalizers import Lowercase
    from tokenizers.normalizers import Sequence as Several

    tokenizer = load_tokenizer(TextInput(text, 1))
    before: Sequence[Any] = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
    tokenizer.normalizer = Several([Lowercase(), *before])
    plain = json.loads(text)
    plain["normalizer"] = json.loads(tokenizer.to_str())["normalizer"]
    return json.dumps(plain, ensure_ascii=False)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without transformers' remarks on long texts and old files: they are not about anything that the user did here."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity(ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _unreadable(where: str, why: str, hint: str = _ANOTHER) -> UsageError:
    return UsageError(f"has no tokenizer that can be read ({why})", where=where, hint=hint)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 30 else f"{text[:30]}…")
