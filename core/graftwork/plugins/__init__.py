"""The code of plugins: loaded by name, each for itself; what went wrong when one was last loaded, and what loading it changes.

Which plugins there are, and what they have, is `catalogue`'s; new packages are `scaffold`'s.
"""

from graftwork.plugins.load import Plugins, cause_of, culprit, hookimpl

__all__ = ["Plugins", "cause_of", "culprit", "hookimpl"]
