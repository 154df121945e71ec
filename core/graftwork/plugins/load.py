"""Loads plugins by name, each in isolation: one that is broken breaks only what needs it."""

from __future__ import annotations

import dataclasses
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import partial
from typing import Any, Literal

import pluggy

from graftwork import hookspecs
from graftwork.catalogue import Catalogue, Kind
from graftwork.errors import GraftworkError, PluginError, did_you_mean
from graftwork.hookspecs import hookimpl
from graftwork.machine.garbage import importing
from graftwork.plugins import failures

__all__ = ["Plugins", "hookimpl"]

REPORT = "Report it to the plugin's author; --debug shows where it failed"


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
        plugin = self.catalogue.get(kind, name).plugin
        bare = name.removeprefix(f"{plugin}:")
        builders = self.builders(kind, plugin)
        if bare not in builders:
            supplied = f"It supplies {', '.join(sorted(builders)[:5])}. " if builders else ""
            raise PluginError(
                f"plugin {plugin!r} lists {bare!r} in its registry.yaml but supplies no builder for it",
                hint=f"{supplied}Report it to the plugin's author",
            )
        builder = builders[bare]
        if not callable(builder):
            what = f"plugin {plugin!r} supplies {_kind_of(builder)} for {bare!r}, which cannot be called"
            raise PluginError(what, hint="Its hook has to return builders by name. Report it to the plugin's author")
        return builder

    def build(self, kind: Kind, name: str, *arguments: Any) -> Any:
        """Call a builder; an exception that is not a GraftworkError is the plugin's fault and says so.

        Args:
            kind: of what is built.
            name: in the catalogue; PLUGIN:NAME is the catalogue's, the builder knows itself by NAME.
            arguments: of the builder, the Spec first.
        """
        builder = self.builder(kind, name)
        plugin = self.catalogue.get(kind, name).plugin
        bare = name.removeprefix(f"{plugin}:")
        if bare != name and arguments:
            arguments = (dataclasses.replace(arguments[0], name=bare), *arguments[1:])
        with _attributed(plugin, f"failed to build {bare!r}", lambda error: REPORT, passes=GraftworkError):
            return builder(*arguments)

    def make(self, wanted: type, kind: Kind, name: str, *arguments: Any) -> Any:
        """Like `build`, held against what it has to be.

        Raises:
            PluginError: the plugin built something else.
        """
        made = self.build(kind, name, *arguments)
        if not isinstance(made, wanted):
            plugin = self.catalogue.get(kind, name).plugin
            what = f"plugin {plugin!r} built {_kind_of(made)} for {name!r}, where a {wanted.__name__} is needed"
            raise PluginError(what, hint="Report it to the plugin's author")
        return made

    def open(self, wanted: type, opener: str, reference: str) -> Any:
        """What a backbone's entry makes of a reference to a pretrained one that lies outside the catalogue.

        Args:
            wanted: what that has to be.
            opener: catalogue name of the entry.
            reference: `SCHEME:NAME`, or a folder.

        Raises:
            PluginError: the plugin has no opener for the entry, or it fails or gives something else.
        """
        plugin = self.catalogue.get("backbones", opener).plugin
        bare = opener.removeprefix(f"{plugin}:")
        openers = self.builders("openers", plugin)
        if bare not in openers:
            what = f"plugin {plugin!r} says that {bare!r} opens references, but supplies no opener for it"
            raise PluginError(what, hint="Report it to the plugin's author")
        with _attributed(plugin, f"failed to open {reference!r}", lambda error: REPORT, passes=GraftworkError):
            opened = openers[bare](reference)
        if not isinstance(opened, wanted):
            what = f"plugin {plugin!r} opened {reference!r} as {_kind_of(opened)}, where a {wanted.__name__} is needed"
            raise PluginError(what, hint="Report it to the plugin's author")
        return opened

    def builders(self, kind: Kind | Literal["openers"], plugin: str) -> Mapping[str, Any]:
        """All builders of a kind that a plugin supplies, by their plain names.

        Raises:
            PluginError: the plugin cannot be imported, or its hook fails or returns something else.
        """
        manager = self.load(plugin)
        hook = f"graftwork_{kind}"
        found: dict[str, Any] = {}
        try:
            # Called here, not by pluggy, which would drop a hook that returns None in silence.
            for implementation in getattr(manager.hook, hook).get_hookimpls():
                # A hook imports what it names, and that torchvision or transformers.
                with _attributed(plugin, f"failed in its hook {hook}", partial(self._way_out, plugin)), importing():
                    returned = implementation.function()
                    wrong = _wrong_with(returned)
                    found.update({} if wrong else returned)
                if wrong:
                    hint = "A hook returns a mapping of catalogue names to builders, {} when it has none"
                    raise PluginError(f"plugin {plugin!r} returned {wrong} from its hook {hook}", hint=hint)
        except PluginError as error:
            self._remember(plugin, error, "hooks")
            raise
        return found

    def load(self, plugin: str) -> pluggy.PluginManager:
        """Import a plugin, once.

        Raises:
            PluginError: it cannot be imported, is not in use or not installed.
        """
        if plugin in self._loaded:
            return self._loaded[plugin]
        point = self.catalogue.entry_points.get(plugin)
        if point is None:
            raise self._not_in_use(plugin)
        manager = pluggy.PluginManager("graftwork")
        manager.add_hookspecs(hookspecs)
        try:
            with _attributed(plugin, "cannot be loaded", partial(self._way_out, plugin)), importing():
                manager.register(point.load(), name=plugin)
                _refuse_unknown_hooks(manager)
        except PluginError as error:
            self._remember(plugin, error, "load")
            raise
        self._forget(plugin)
        self._loaded[plugin] = manager
        return manager

    def _not_in_use(self, plugin: str) -> PluginError:
        state = self.catalogue.plugins.get(plugin)
        if state is None or state.problem is None:
            return PluginError(f"plugin {plugin!r} is not installed", hint=f"Try: pip install {plugin}")
        return PluginError(f"plugin {plugin!r} is not in use: {state.problem}")

    def _way_out(self, plugin: str, error: BaseException) -> str:
        """What a user can do about a plugin whose code fails."""
        state = self.catalogue.plugins.get(plugin)
        distribution, package = (state.distribution, state.package) if state else (plugin, "")
        top = (getattr(error, "name", None) or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and top == package:
            return f"It is not installed completely. Try: pip install --force-reinstall {distribution}"
        if isinstance(error, ImportError) and top == "graftwork" != package:
            return f"It was written for another version of graftwork. Try: pip install --upgrade {distribution}"
        if isinstance(error, ModuleNotFoundError) and top:
            return f"It needs {top}, which is not installed. Try: pip install {distribution}"
        return f"Update or uninstall {distribution}, or report it to its author; --debug shows where it failed"

    def _remember(self, plugin: str, error: PluginError, when: str) -> None:
        """Let `graft list` say it from now on."""
        state = self.catalogue.plugins.get(plugin)
        if state is not None and state.folder is not None:
            failed = failures.LoadFailure(error.what.removeprefix(f"plugin {plugin!r} "), failures.stamp(state), when)
            failures.remember({plugin: failed})

    def _forget(self, plugin: str) -> None:
        state = self.catalogue.plugins.get(plugin)
        if state is not None and state.folder is not None:
            known = failures.remembered().get(plugin)
            if known is not None and known.at == "load":
                failures.remember({plugin: None})


@contextmanager
def _attributed(
    plugin: str,
    what: str,
    hint: Callable[[BaseException], str],
    passes: type[BaseException] | None = None,
) -> Iterator[None]:
    """Code of a plugin: what it raises is the plugin's fault and says so, what it prints goes to stderr.

    Args:
        plugin: whose code it is.
        what: what it could not do.
        hint: the way out, by what was raised.
        passes: errors that are clear enough.

    Raises:
        PluginError: it raised anything else but an interrupt, which is the user's. Ending the process (SystemExit) counts.
    """
    try:
        with redirect_stdout(sys.stderr):  # stdout is for results: a banner would spoil --json
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if passes is not None and isinstance(error, passes):
            raise
        raise PluginError(f"plugin {plugin!r} {what} ({cause_of(error)})", hint=hint(error)) from error


def cause_of(error: BaseException) -> str:
    """An exception on one line, of bounded length."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # an exception of a plugin's own may fail at this too
        text = ""
    if not isinstance(error, GraftworkError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= 400 else f"{text[:400]} …"


def _refuse_unknown_hooks(manager: pluggy.PluginManager) -> None:
    """A marked function with a name that no hook has would never be called, and nobody would know.

    Raises:
        PluginError: there is one.
    """
    known = [name for name in vars(hookspecs) if name.startswith("graftwork_")]
    for plugin in manager.get_plugins():
        for caller in manager.get_hookcallers(plugin) or ():
            if not caller.has_spec() and not all(found.optionalhook for found in caller.get_hookimpls()):
                raise PluginError(f"there is no hook {caller.name!r}", hint=did_you_mean(caller.name, known))


def _wrong_with(returned: Any) -> str | None:
    """What is wrong with what a hook returned, or None."""
    if not isinstance(returned, Mapping):
        return _kind_of(returned)
    strange = [name for name in returned if not isinstance(name, str)]
    return f"a mapping with the name {strange[0]!r}, which is no text," if strange else None


def _kind_of(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def culprit(error: BaseException, catalogue: Catalogue) -> str | None:
    """The third party's plugin whose code raised an error, or called the library that did; None when it was another's.

    The innermost frame that is graftwork's or a plugin's decides.
    """
    packages = {state.package: state.name for state in catalogue.plugins.values() if state.name not in catalogue.ours}
    ours = {"graftwork"} | {state.package for state in catalogue.plugins.values() if state.name in catalogue.ours}
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if top in packages:
            return packages[top]
        if top in ours:
            return None
    return None
