"""graftwork-tables: classification of table rows, a domain that graftwork does not know. Imports only the hook marker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graftwork import hookimpl


@hookimpl
def graftwork_tasks() -> Mapping[str, Any]:
    from graftwork_tables import task

    return {"table-classification": task.build}


@hookimpl
def graftwork_backbones() -> Mapping[str, Any]:
    from graftwork_tables import backbone

    return {"hashed-mlp": backbone.build}


@hookimpl
def graftwork_heads() -> Mapping[str, Any]:
    from graftwork.classification.heads import build_linear  # what a class is, graftwork knows

    return {"table-linear": build_linear}


@hookimpl
def graftwork_datasets() -> Mapping[str, Any]:
    from graftwork_tables import rows

    return dict.fromkeys(("wine", "breast-cancer"), rows.bundled)
