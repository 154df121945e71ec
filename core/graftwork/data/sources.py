"""Where data comes from: a path, or SCHEME:NAME. Nothing is read here but what the Hugging Face hub hands over."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graftwork.catalogue import forbidden_by
from graftwork.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9_+-]+):(.+)", re.DOTALL)  # one letter before the colon is a Windows drive


_HUB_NAME = re.compile(r"[\w-]+/[\w-]+")
_ADDRESSES = {
    "http": " (curl -LO)",
    "https": " (curl -LO)",
    "ftp": " (curl -O)",
    "s3": " (aws s3 cp)",
    "gs": " (gsutil cp)",
}


@dataclass(frozen=True)
class Source:
    """A parsed `--data` argument.

    Args:
        scheme: `path`, `sample`, `hf`, or another one that the task knows.
        name: the path, or what follows the scheme.
        argument: what follows the name's own colon: the configuration of `hf:NAME:CONFIG`.
    """

    scheme: str
    name: str
    argument: str | None = None


def parse_source(text: str) -> Source:
    """Parse a path or `SCHEME:NAME[:ARGUMENT]`; an existing path and a Windows drive letter win over a scheme.

    Example:
        >>> parse_source("hf:cifar100:plain_text")
        Source(scheme='hf', name='cifar100', argument='plain_text')
        >>> parse_source("photos/cats").scheme
        'path'

    Raises:
        UsageError: the text is empty.
    """
    if not text.strip():
        raise UsageError("the data source is empty", hint="Give a path, sample:NAME or hf:NAME")
    match = _SCHEME.fullmatch(text)
    if match is None or _exists(Path(text).expanduser()):
        return Source("path", text)
    if match[1].lower() == "sample":
        return Source("sample", match[2])  # PLUGIN:NAME is one name
    name, colon, argument = match[2].partition(":")
    return Source(match[1].lower(), name, argument if colon else None)


def existing_path(text: str | Path) -> Path:
    """The path, made absolute.

    Raises:
        DataError: it does not exist; names the nearest parent that does, and entries there with a similar name. Or it is a
            pipe or a device, or its name is not UTF-8, and so stands in no table.
    """
    path = Path(text).expanduser()
    if _exists(path):
        if not path.is_dir() and not path.is_file():
            raise DataError("is a pipe or a device, not a file", where=str(text), hint="Save it as a file first")
        resolved = path.resolve()
        require_utf8(str(resolved))
        return resolved
    parent = path.absolute().parent
    missing = path.name
    while not _exists(parent):
        missing, parent = parent.name, parent.parent
    try:
        hidden = missing.startswith(".")
        entries = sorted(entry.name for entry in parent.iterdir() if hidden or not entry.name.startswith("."))
    except OSError:
        entries = []
    close = difflib.get_close_matches(missing.lower(), [entry.lower() for entry in entries], n=3, cutoff=0.6)
    similar = [entry for entry in entries if entry.lower() in close]
    hint = f"Did you mean {' or '.join(str(parent / entry) for entry in similar)}?" if similar else None
    if hint is None and isinstance(text, str) and _HUB_NAME.fullmatch(text):
        hint = f"If it is a data set of the Hugging Face hub: hf:{text}"
    raise DataError(f"does not exist (the nearest folder that does is {parent})", where=str(text), hint=hint)


def require_utf8(name: str) -> None:
    """Refuse a path that is not UTF-8, which no table and no configuration can hold.

    Raises:
        DataError: with the name as it can be printed, and the way out.
    """
    try:
        name.encode()
        return
    except UnicodeEncodeError:
        raw = os.fsencode(name)
    try:
        shown, hint = raw.decode(), "The locale says that names are ASCII: set PYTHONUTF8=1, or LC_ALL=C.UTF-8"
    except UnicodeDecodeError:
        shown = raw.decode("utf-8", "backslashreplace")
        hint = "Rename it, or the folder that has such a name; convmv does it for whole folders"
    raise DataError("has a name that is not UTF-8", where=shown, hint=hint)


def unknown_scheme(source: Source, known: list[str]) -> UsageError:
    """The error for a scheme that nobody reads."""
    if source.scheme in _ADDRESSES and source.name.startswith("//"):
        hint = f"Download it first{_ADDRESSES[source.scheme]}, and give the file or folder"
        return UsageError("is an address, not a path", where=f"{source.scheme}:{source.name}", hint=hint)
    hint = f"{did_you_mean(source.scheme, known)} A path needs no scheme"
    return UsageError(
        f"unknown kind of data source {source.scheme!r}", where=f"{source.scheme}:{source.name}", hint=hint
    )


def open_hf(name: str, config: str | None = None) -> dict[str, Dataset]:
    """The splits of a data set on the Hugging Face hub, under their upstream names; no remote code is run.

    What was downloaded before is opened without a network; HF_HUB_OFFLINE=1, GRAFTWORK_OFFLINE=1 or HF_DATASETS_OFFLINE=1
    forbids asking for one.

    Raises:
        DataError: no such data set or configuration, the hub cannot be reached, or only remote code could read it.
    """
    from datasets import Dataset, DatasetDict, load_dataset
    from datasets.exceptions import DatasetNotFoundError

    from graftwork.data.columns import own_origin_aside

    where = f"hf:{name}" + (f":{config}" if config else "")
    forbid_downloads()
    try:
        loaded = load_dataset(name, config)
    except DatasetNotFoundError as error:
        raise DataError("is not on the hub, or is private", where=where, hint=_first_line(error)) from None
    except (ConnectionError, TimeoutError) as error:
        hint = "Connect, or give a path or sample:NAME"
        raise DataError(f"the hub cannot be reached ({_first_line(error)})", where=where, hint=hint) from None
    except Exception as error:  # a library boundary: it raises whatever its layers raise
        raise DataError(f"cannot be opened ({_first_line(error)})", where=where) from error
    if not isinstance(loaded, DatasetDict):
        raise DataError("does not come in splits", where=where)
    return {str(split): own_origin_aside(rows) for split, rows in loaded.items() if isinstance(rows, Dataset)}


def forbid_downloads() -> str | None:
    """Let the libraries of the hub ask for nothing where the user forbade it, by variables that they do not read themselves.

    Returns:
        The variable that forbids it, or None.
    """
    forbidden = forbidden_by("HF_DATASETS_OFFLINE")
    if forbidden:
        import datasets
        import huggingface_hub.constants

        # They read their own variables once, when they are imported.
        huggingface_hub.constants.HF_HUB_OFFLINE = True
        datasets.config.HF_HUB_OFFLINE = datasets.config.HF_DATASETS_OFFLINE = True
    return forbidden


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long a name, or a NUL in it
        return False
