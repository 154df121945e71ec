"""Detection heads by catalogue name. Importing this imports torch: hook bodies do, the plugin's `__init__` does not."""

from __future__ import annotations

from collections.abc import Mapping

from graftwork.interfaces import HeadBuilder
from graftwork_detection.heads import faster_rcnn, fcos, retinanet, ssdlite

BUILDERS: Mapping[str, HeadBuilder] = {
    "faster-rcnn": faster_rcnn.build,
    "fcos": fcos.build,
    "retinanet": retinanet.build,
    "ssdlite": ssdlite.build,
}
"""Catalogue name to builder."""
