"""The settings of a run: layers, recipes and defaults put together, each with its origin; and what can be known to be wrong.

Light: no torch. Names are looked up in `catalogue`; what a machine decides comes later, in `run`.
"""

from graftwork.config.settings import (
    Layer,
    Resolved,
    RunConfig,
    Setting,
    file_layer,
    override_layer,
    parse_duration,
    parse_limit,
    resolve,
    validate,
)

__all__ = [
    "Layer",
    "Resolved",
    "RunConfig",
    "Setting",
    "file_layer",
    "override_layer",
    "parse_duration",
    "parse_limit",
    "resolve",
    "validate",
]
