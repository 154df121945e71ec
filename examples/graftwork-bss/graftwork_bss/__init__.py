"""graftwork-bss: batch spectral shrinkage as a strategy. Imports only the hook marker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graftwork import hookimpl


@hookimpl
def graftwork_strategies() -> Mapping[str, Any]:
    from graftwork_bss import strategy

    return {"bss": strategy.build}
