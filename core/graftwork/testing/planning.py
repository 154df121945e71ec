"""What all checks of a strategy are made on: the strategy as a run builds it, and its plan for a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from graftwork.interfaces import Model, Plan, Strategy
from graftwork.testing.base import Conformance, doing
from graftwork.testing.fits import context
from graftwork.testing.subjects import Subject, assemble, usual_task


class PlanChecks(Conformance):
    """The root of `StrategyConformance`."""

    strategy: ClassVar[str]
    """As `--strategy`: NAME or NAME:ARGUMENT."""

    task: ClassVar[str] = ""
    data: ClassVar[str] = ""
    backbone: ClassVar[str] = ""
    head: ClassVar[str] = ""
    """The task's default where empty."""

    options: ClassVar[Mapping[str, Any]] = {}
    """Of the strategy."""

    epochs: ClassVar[int] = 6
    """Enough for every phase."""

    def subject(self) -> Subject:
        """The parts of a run with this strategy."""
        catalogue = self.catalogue()
        task = self.task or usual_task(catalogue)
        given = {"strategy": self.options}
        return assemble(
            catalogue,
            task,
            data=self.data,
            backbone=self.backbone,
            head=self.head,
            strategy=self.strategy,
            options=given,
        )

    def built(self, subject: Subject) -> Strategy:
        """The strategy, as a run builds it."""
        with doing("building the strategy"):
            return subject.builder.strategy(subject.config)

    def planned(self, strategy: Strategy, model: Model, **changes: Any) -> Plan:
        """Its plan for a model."""
        with doing("planning"):
            plan = strategy.plan(model, replace(context(self.subject(), self.epochs), **changes))
        assert isinstance(plan, Plan), f"plan gives a {type(plan).__name__} in place of a Plan"
        return plan
