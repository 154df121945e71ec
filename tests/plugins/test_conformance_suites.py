"""graftwork's public checks on its suites, exactly as a stranger's plugin runs them."""

from __future__ import annotations

from graftwork.testing import PluginConformance


class TestPackage(PluginConformance):
    plugin = "graftwork-bench"
