"""Detection: boxes around objects, by torchvision's heads on the maps of any image backbone.

Imports only the hook marker; everything else is imported inside the hooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from graftwork import hookimpl

if TYPE_CHECKING:
    from graftwork.interfaces import DatasetBuilder, HeadBuilder, TaskBuilder


@hookimpl
def graftwork_tasks() -> Mapping[str, TaskBuilder]:
    from graftwork_detection import task

    return {"detection": task.build}


@hookimpl
def graftwork_heads() -> Mapping[str, HeadBuilder]:
    from graftwork_detection.heads import BUILDERS

    return BUILDERS


@hookimpl
def graftwork_datasets() -> Mapping[str, DatasetBuilder]:
    from graftwork_detection import samples

    return {"digit-scenes": samples.digit_scenes}
