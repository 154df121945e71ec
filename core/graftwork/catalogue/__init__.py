"""What there is, from every registry.yaml, by name: entries, references, what is installed and usable, versions.

Light: no torch, and no plugin is imported; their code is loaded by `plugins`. Settings of a run are `config`'s.
"""

from graftwork.catalogue.catalogue import *  # noqa: F403
from graftwork.catalogue.catalogue import __all__ as __all__
