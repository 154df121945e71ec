"""Puts registry.yaml into the wheel, beside the package; an editable install reads it from the repository root."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class RegistryHook(BuildHookInterface):  # type: ignore[type-arg]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        # Editable installs would leave a stale copy in site-packages.
        if version == "standard":
            build_data["force_include"]["registry.yaml"] = "graftwork/registry.yaml"
