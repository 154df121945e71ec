"""`graft cache list` and `graft cache clear`: what is kept to be used again, how much of it, and how to be rid of it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from inspect import cleandoc
from typing import Annotated, Any

import typer

from graftwork.cache.entries import CacheEntry, Leftovers, cache_root, entries, kinds, linked, remove, sweep
from graftwork.cache.room import LIMITED, size_limit
from graftwork.cli.options import Json
from graftwork.console import byte_size, out, out_json, out_table
from graftwork.errors import RunFailed, UsageError, did_you_mean

REMADE = (*LIMITED, "tables")
"""Kinds that are cleared unless told otherwise: a run that needs them makes them again by itself, without a network."""

KNOWN = (*REMADE, "weights")
FIRST = ("what", "backbone", "weights", "boundary", "precision", "task", "part", "data")
"""Facts of an entry that speak for themselves, in the order of a sentence; others are shown with their name."""

_TITLES = ["kind", "what", "size", "last used", "key"]
_LONGEST = 120  # characters of `what`
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}

Kinds = Annotated[
    list[str] | None, typer.Option("--kind", metavar="K", help=f"Only this kind: {', '.join(KNOWN)}; repeatable.")
]


def application() -> typer.Typer:
    """The commands below `graft cache`."""
    app = typer.Typer(
        add_completion=False, rich_markup_mode=None, help="What runs keep to use again: list it, clear it."
    )
    settings = {"help_option_names": ["-h", "--help"]}
    # Given explicitly: of a docstring, typer takes a group's first paragraph only.
    app.callback(invoke_without_command=True, help=cleandoc(_start.__doc__ or ""), context_settings=settings)(_start)
    app.command("list", context_settings=settings)(list_command)
    app.command("clear", context_settings=settings)(clear_command)
    return app


def _start(context: typer.Context) -> None:
    """What runs keep to use again: list it, clear it.

    States of frozen stages, decoded pictures, looks (what the audit saw in pictures), tokens, unpacked tables and downloaded
    weights lie in $GRAFTWORK_CACHE or ~/.cache/graftwork. States, pictures, looks and tokens stay below
    $GRAFTWORK_CACHE_LIMIT (20GB, 1TiB, 0 to keep nothing): a run that needs room removes what was not used for longest.
    """
    if context.invoked_subcommand is None:
        out(context.get_help())


def list_command(kind: Kinds = None, json: Json = False) -> None:
    """What the cache holds, and its limit."""
    everything = entries()
    chosen = _chosen(kind, kinds())
    shown = [entry for entry in everything if entry.kind in chosen]
    held = sum(entry.bytes for entry in everything if entry.kind in LIMITED)
    limit, reason = size_limit(held)
    left = sweep(dry=True)
    if json:
        facts = {"bytes": limit, "reason": reason, "kinds": LIMITED, "held_bytes": held}
        out_json(
            {
                "folder": str(cache_root()),
                "limit": facts,
                "bytes": _bytes(shown),
                "entries": [_plain(entry) for entry in shown],
                "leftovers": asdict(left),
            }
        )
        return
    if shown:
        out_table(_TITLES, [_row(entry) for entry in shown])
        out()
    out(f"{_amount(shown) if shown else 'nothing'} in {cache_root()}")
    out(f"{_and(LIMITED)}: {byte_size(held)} of at most {byte_size(limit)} ({reason})")
    for name in linked():
        out(f"{name} is a link to another place: neither listed nor cleared")
    if left.gone:
        out(f"left by runs that were killed: {byte_size(left.gone_bytes)}; graft cache clear removes it")
    _say_alive(left)


def clear_command(
    kind: Kinds = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="AGE", help="Only what was not used for so long: 30min, 12h, 7d, 2w.")
    ] = None,
    key: Annotated[str | None, typer.Option(metavar="PREFIX", help="Only entries whose key begins so.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
    json: Json = False,
) -> None:
    """Remove what can be made again: states, pictures, looks, tokens, tables. Downloaded weights go only with --kind weights.

    Safe beside runs: those that train from states or pictures go on, and the next one that needs them makes them again.
    A run that reads large texts or tables in worker processes may have to be resumed.
    """
    age = None if older_than is None else _age(older_than)
    everything = entries()
    chosen = _chosen(kind, REMADE)
    wanted = [entry for entry in everything if entry.kind in chosen and entry.key.startswith(key or "")]
    if key is not None:
        _check_key(key, wanted, everything)
    if age is not None:
        wanted = [entry for entry in wanted if time.time() - entry.used > age]
    removed, failures = (wanted, []) if dry_run else _remove(wanted)
    left = sweep(dry=dry_run)
    stay = [entry for entry in everything if entry.kind not in chosen] if kind is None and key is None else []
    if json:
        out_json(
            {
                "folder": str(cache_root()),
                "dry_run": dry_run,
                "bytes": _bytes(removed) + left.gone_bytes,
                "removed": [_plain(entry) for entry in removed],
                "leftovers": asdict(left),
            }
        )
    elif removed or not failures:
        _show_removed(removed, left, stay, dry_run)
    if failures:
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        raise RunFailed(failures[0].what + more, where=failures[0].where, hint="Who owns the folder can remove it")


def _remove(wanted: Sequence[CacheEntry]) -> tuple[list[CacheEntry], list[RunFailed]]:
    """What this process removed, and what it could not; what another process removed at the same time is in neither."""
    removed, failures = [], []
    for entry in wanted:
        try:
            if remove(entry):
                removed.append(entry)
        except RunFailed as failure:
            failures.append(failure)
    return removed, failures


def _show_removed(removed: Sequence[CacheEntry], left: Leftovers, stay: Sequence[CacheEntry], dry: bool) -> None:
    verb = "would remove" if dry else "removed"
    if removed:
        out_table(_TITLES, [_row(entry) for entry in removed])
        out()
    if removed or not left.gone:
        out(f"{verb} {_amount(removed) if removed else 'nothing'}")
    if left.gone:
        out(f"{verb} what runs that were killed had left: {byte_size(left.gone_bytes)}")
    for kind in sorted({entry.kind for entry in stay}):
        out(f"{kind} stay: {_amount([entry for entry in stay if entry.kind == kind])}; --kind {kind} clears them")
    _say_alive(left)


def _say_alive(left: Leftovers) -> None:
    if left.alive:
        out(f"being written, or left by a run that was killed just now: {byte_size(left.alive_bytes)}")


def _chosen(asked: Sequence[str] | None, default: Sequence[str]) -> Sequence[str]:
    if not asked:
        return default
    known = sorted({*KNOWN, *kinds()})
    for kind in asked:
        if kind not in known:
            raise UsageError(f"the cache has no kind {kind!r}", where="--kind", hint=did_you_mean(kind, known))
    return asked


def _check_key(key: str, wanted: Sequence[CacheEntry], everything: Sequence[CacheEntry]) -> None:
    """A key is meant for something that is there."""
    if not key:
        raise UsageError("is empty, and every key begins so", where="--key", hint="Leave it out to clear everything")
    if wanted:
        return
    others = sorted({entry.kind for entry in everything if entry.key.startswith(key)})
    hint = f"It is of another kind: add --kind {others[0]}" if others else "See graft cache list"
    raise UsageError(f"no key begins with {key!r}", where="--key", hint=hint)


def _age(text: str) -> float:
    """Seconds of `7d`."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)\s*(s|min|m|h|d|w)", text.strip(), re.ASCII)
    if found is None:
        raise UsageError(f"{text!r} is no age", where="--older-than", hint="Write 30min, 12h, 7d or 2w")
    return float(found[1]) * _SECONDS[found[2]]


def _plain(entry: CacheEntry) -> dict[str, Any]:
    return {
        "kind": entry.kind, "key": entry.key, "path": str(entry.path), "bytes": entry.bytes, "files": entry.files,
        "used": entry.used, "about": entry.about, "problem": entry.problem,
    }  # fmt: skip


def _row(entry: CacheEntry) -> list[str]:
    what = f"unreadable ({entry.problem})" if entry.problem else phrase(entry.about) or entry.key
    what = " ".join(what.split())
    what = what if len(what) <= _LONGEST else f"{what[: _LONGEST - 1]}…"
    return [entry.kind, what, byte_size(entry.bytes), ago(time.time() - entry.used), entry.key[:12]]


def phrase(about: Mapping[str, Any]) -> str:
    """The facts of an entry in one line.

    >>> phrase({"rows": 50, "precision": "bf16", "backbone": "resnet18", "boundary": "after stage 4 of 6"})
    'resnet18, after stage 4 of 6, bf16, rows 50'
    """
    names = [*(name for name in FIRST if name in about), *(name for name in about if name not in FIRST)]
    parts = []
    for name in names:
        value = about[name]
        text = "+".join(str(item) for item in value) if isinstance(value, list) else str(value)
        if value is not None and text and not isinstance(value, dict):
            parts.append(text if name in FIRST and isinstance(value, str) else f"{name} {text}")
    return ", ".join(parts)


def ago(seconds: float) -> str:
    """How long something is past, in the largest unit that fits.

    >>> ago(5), ago(200), ago(86_400), ago(200_000)
    ('just now', '3 min ago', '1 day ago', '2 days ago')
    """
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{int(seconds // 60)} min ago"
    if seconds < 86_400:
        return f"{int(seconds // 3600)} h ago"
    days = int(seconds // 86_400)
    return f"{days} day{'' if days == 1 else 's'} ago"


def _amount(some: Sequence[CacheEntry]) -> str:
    return f"{len(some)} {'entry' if len(some) == 1 else 'entries'}, {byte_size(_bytes(some))}"


def _bytes(some: Sequence[CacheEntry]) -> int:
    return sum(entry.bytes for entry in some)


def _and(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"
