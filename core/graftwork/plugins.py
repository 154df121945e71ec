"""Loads plugins by name, each in isolation: one that is broken breaks only what needs it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pluggy

from graftwork import hookspecs
from graftwork.catalogue import Catalogue, Kind
from graftwork.errors import GraftworkError, PluginError
from graftwork.hookspecs import hookimpl

__all__ = ["Plugins", "hookimpl"]


class Plugins:
    """The code behind a catalogue.

    Each plugin gets a pluggy manager of its own: `load_setuptools_entrypoints` would stop at the first broken one, and
    hooks of an unrelated plugin have no business in a run.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._loaded: dict[str, pluggy.PluginManager] = {}

    def builder(self, kind: Kind, name: str) -> Any:
        """The builder of a catalogue name; imports its plugin and nothing else.

        Raises:
            UsageError: no such name in the catalogue.
            PluginError: the plugin cannot be imported, or it does not supply what its registry.yaml says.
        """
        entry = self.catalogue.get(kind, name)
        builders = self.builders(kind, entry.plugin)
        if name not in builders:
            raise PluginError(
                f"plugin {entry.plugin!r} lists {name!r} in its registry.yaml but supplies no builder for it",
                hint="Report it to the plugin's author",
            )
        return builders[name]

    def build(self, kind: Kind, name: str, *arguments: Any) -> Any:
        """Call a builder; an exception that is not a GraftworkError is the plugin's fault and says so."""
        builder = self.builder(kind, name)
        try:
            return builder(*arguments)
        except GraftworkError:
            raise
        except Exception as error:
            plugin = self.catalogue.get(kind, name).plugin
            raise PluginError(
                f"plugin {plugin!r} failed to build {name!r} ({type(error).__name__}: {error})"
            ) from error

    def builders(self, kind: Kind | Literal["openers"], plugin: str) -> Mapping[str, Any]:
        """All builders of a kind that a plugin supplies."""
        manager = self._load(plugin)
        try:
            results = getattr(manager.hook, f"graftwork_{kind}")()
            return {name: builder for result in results for name, builder in result.items()}
        except Exception as error:
            message = f"plugin {plugin!r} failed in its hook graftwork_{kind} ({type(error).__name__}: {error})"
            raise PluginError(message) from error

    def _load(self, plugin: str) -> pluggy.PluginManager:
        if plugin in self._loaded:
            return self._loaded[plugin]
        point = self.catalogue.entry_points.get(plugin)
        if point is None:
            raise PluginError(f"plugin {plugin!r} is not installed", hint=f"Try: pip install {plugin}")
        manager = pluggy.PluginManager("graftwork")
        manager.add_hookspecs(hookspecs)
        try:
            manager.register(point.load(), name=plugin)
        except (Exception, SystemExit) as error:
            cause = f"{type(error).__name__}: {error}"
            raise PluginError(
                f"plugin {plugin!r} cannot be loaded ({cause})", hint=f"Try: pip install {plugin}"
            ) from error
        self._loaded[plugin] = manager
        return manager
