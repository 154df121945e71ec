"""Text classification: transformers' encoders in stages, data, length-bucketed batches, metrics and marked passages.

Imports only the hook marker; everything else is imported inside the hooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from graftwork import hookimpl

if TYPE_CHECKING:
    from graftwork.interfaces import BackboneBuilder, DatasetBuilder, Opener, TaskBuilder


@hookimpl
def graftwork_tasks() -> Mapping[str, TaskBuilder]:
    from graftwork_text import task

    return {"text-classification": task.build}


@hookimpl
def graftwork_backbones() -> Mapping[str, BackboneBuilder]:
    from graftwork_text.backbones import BUILDERS

    return BUILDERS


@hookimpl
def graftwork_openers() -> Mapping[str, Opener]:
    from graftwork_text.backbones import OPENERS

    return OPENERS


@hookimpl
def graftwork_datasets() -> Mapping[str, DatasetBuilder]:
    from graftwork_text import samples

    return {"messages": samples.messages}
