"""The conformance kit for tasks: subclass `TaskConformance`, name the task, and pytest runs the checks.

class TestMyTask(TaskConformance):
    task = "my-task"
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from graftwork.interfaces import DataRequest, Spec
from graftwork.testing.base import doing
from graftwork.testing.options import check_options_are_read
from graftwork.testing.subjects import check_saved_model, load
from graftwork.testing.surroundings import check_leaves_alone
from graftwork.testing.task_metrics import MetricChecks


class TaskConformance(MetricChecks):
    """What being a task means, as tests, on rows of its first sample with its default head over a small backbone.

    The checks come in the order of a run: reading (`task_reading`), examples (`task_examples`), metrics (`task_metrics`), and
    here what concerns the task as a whole. A check that cannot hold is named in `exceptions` with the reason.
    """

    def test_the_registry_entry_fits(self) -> None:
        catalogue = self.catalogue()
        entry = catalogue.task(self.task)
        backbone = catalogue.find("backbones", entry.default_backbone, entry.plugin)
        head = catalogue.find("heads", entry.default_head, entry.plugin)
        said = f"registry.yaml says of task {self.task}"
        assert backbone is not None, f"{said}: default_backbone {entry.default_backbone}, which is not installed"
        assert head is not None, f"{said}: default_head {entry.default_head}, which is not installed"
        assert backbone.modality == entry.modality, (
            f"{said}: modality {entry.modality}; its default backbone {entry.default_backbone} takes {backbone.modality}"
        )
        for_it = catalogue.refers(head.plugin, "tasks", head.tasks, self.task)
        assert for_it, f"{said}: default_head {entry.default_head}, which is for {', '.join(head.tasks)}"
        lacking = head.lacking(backbone.gives)
        assert not lacking, f"{said}: default head and backbone do not fit, the head needs {', '.join(lacking)}"
        found = self.subject().task.primary_metric
        assert self.options or found == entry.primary_metric, (
            f"{said}: primary_metric {entry.primary_metric}; the task chooses by {found}"
        )

    def test_guessing_scores_less_than_perfect_predictions(self) -> None:
        subject = self.subject()
        with doing("asking for the score of guessing"):
            chance = subject.task.chance(subject.facts)
        number = isinstance(chance, int | float) and not isinstance(chance, bool)
        assert number and math.isfinite(chance), f"chance gives {chance!r}, and not a finite number"
        name = subject.task.primary_metric
        lowest, highest = self.ranges.get(name, (-1.0, 1.0))
        assert lowest <= chance < highest, (
            f"chance gives {chance:.6g}; what guessing gets of {name} lies from {lowest:g} to below {highest:g}, see `ranges`"
        )

    def test_every_option_is_declared_and_read(self) -> None:
        subject = self.subject()
        config, builder = subject.config, subject.builder
        input = subject.input()

        def use(options: Any) -> None:
            task = builder.plugins.build("tasks", config.task, Spec(config.task, options))
            opener = lambda name: builder.plugins.build("datasets", name, Spec(name))  # noqa: E731
            try:
                task.read(DataRequest(config.data, config.columns, None, options, opener))
            finally:
                for train in (True, False):
                    load(task.examples(subject.few["train"], input, subject.facts, train), [0, 1])

        check_options_are_read(f"task {self.task}", builder.catalogue.task(self.task), use)

    def test_building_leaves_the_process_as_it_was(self) -> None:
        subject = self.subject()
        input = subject.input()

        def use() -> None:
            task = subject.same_task()
            for train in (True, False):
                # Not by way of the loader, which puts random numbers back.
                examples = subject.examples("train", input, train, task)
                examples.collate([0, 1], [examples.load(0), examples.load(1)])

        check_leaves_alone("building the task, or loading rows,", use)

    def test_a_saved_model_predicts_the_same(self, tmp_path: Path) -> None:
        check_saved_model(self.subject(), tmp_path / "run")
