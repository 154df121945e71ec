"""What stands behind `graft plugin`: `package` writes a new plugin, `checking` has one checked. Imports no torch."""

from __future__ import annotations

PREFIX = "graftwork-"
"""What a plugin's distribution is called, before its own name."""

KINDS = ("task", "backbone", "head", "strategy", "dataset", "observer")
"""What `graft plugin new` can write."""
