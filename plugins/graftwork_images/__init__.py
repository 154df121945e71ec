"""Image classification: torchvision's backbones in stages, data and pictures.

Imports only the hook marker; everything else is imported inside the hooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from graftwork import hookimpl

if TYPE_CHECKING:
    from graftwork.interfaces import BackboneBuilder, DatasetBuilder, TaskBuilder


@hookimpl
def graftwork_tasks() -> Mapping[str, TaskBuilder]:
    from graftwork_images import task

    return {"image-classification": task.build}


@hookimpl
def graftwork_backbones() -> Mapping[str, BackboneBuilder]:
    from graftwork_images.backbones import BUILDERS

    return BUILDERS


@hookimpl
def graftwork_datasets() -> Mapping[str, DatasetBuilder]:
    from graftwork_images import samples

    return {"digits": samples.digits}
