"""graftwork-timm: timm's image models as staged backbones, with their own preprocessing. Imports only the hook marker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from graftwork import hookimpl

if TYPE_CHECKING:
    from graftwork.interfaces import BackboneBuilder, Opener


@hookimpl
def graftwork_backbones() -> Mapping[str, BackboneBuilder]:
    from graftwork_timm import models

    return dict.fromkeys(("timm", *models.NAMED), models.build)


@hookimpl
def graftwork_openers() -> Mapping[str, Opener]:
    from graftwork_timm import weights

    return {"timm": weights.open_timm}
