"""graftwork: one core, one fine-tune engine, every domain a plugin.

This file stays light: it imports neither torch nor any plugin. Plugins take the markers from here and the classes from
`graftwork.interfaces`.
"""

from graftwork.errors import DataError, GraftworkError, PluginError, RunFailed, UsageError
from graftwork.hookspecs import hookimpl

__version__ = "0.2.0"

__all__ = ["DataError", "GraftworkError", "PluginError", "RunFailed", "UsageError", "__version__", "hookimpl"]
