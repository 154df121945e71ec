"""Image backbones by catalogue name. Importing this imports torch: hook bodies do, the plugin's `__init__` does not."""

from __future__ import annotations

from collections.abc import Mapping

from graftwork.interfaces import BackboneBuilder
from graftwork_images.backbones import families, graftnet

BUILDERS: Mapping[str, BackboneBuilder] = {
    **dict.fromkeys(families.FAMILY_OF, families.build),
    "graftnet-s": graftnet.build,
}
"""Catalogue name to builder."""
