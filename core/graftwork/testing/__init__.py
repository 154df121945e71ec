"""The public conformance kit: one class a kind of plugin to subclass in a plugin's own tests; pytest runs the checks.

`check_installed` makes these classes for everything that an installed plugin has; `graft plugin check` runs it.
"""

from __future__ import annotations

import pytest

# Before the modules are imported: a failed assert then shows its values.
pytest.register_assert_rewrite(
    *(
        f"{__name__}.{module}"
        for module in (
            "backbones",
            "base",
            "datasets",
            "head_losses",
            "head_outputs",
            "heads",
            "learning",
            "observers",
            "packages",
            "strategies",
            "surroundings",
            "task_examples",
            "task_metrics",
            "task_reading",
            "tasks",
            "terms",
        )
    )
)

from graftwork.testing.backbones import BackboneConformance  # noqa: E402
from graftwork.testing.datasets import DatasetConformance  # noqa: E402
from graftwork.testing.heads import HeadConformance  # noqa: E402
from graftwork.testing.observers import ObserverConformance  # noqa: E402
from graftwork.testing.packages import PluginConformance  # noqa: E402
from graftwork.testing.strategies import StrategyConformance  # noqa: E402
from graftwork.testing.tasks import TaskConformance  # noqa: E402

__all__ = [
    "BackboneConformance",
    "DatasetConformance",
    "HeadConformance",
    "ObserverConformance",
    "PluginConformance",
    "StrategyConformance",
    "TaskConformance",
]
