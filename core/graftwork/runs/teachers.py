"""The teachers that a strategy asks for: trained runs, opened, held against the run's data, and given its rows."""

from __future__ import annotations

from pathlib import Path

from graftwork.catalogue.references import RUN_SCHEME
from graftwork.errors import UsageError
from graftwork.interfaces import Teacher
from graftwork.machine.device import Device
from graftwork.models.artifact import Artifact, load_artifact
from graftwork.runs.states import about_states, facts_of_rows, identity_of
from graftwork.runs.values import Assembled
from graftwork.states.fill import Rows
from graftwork.states.given import TeacherRows
from graftwork.states.stores import Keeping


class Teachers:
    """Opens teachers for a run, and remembers which were opened.

    Args:
        assembled: the run.
        device: of the run.
    """

    def __init__(self, assembled: Assembled, device: Device) -> None:
        self._assembled = assembled
        self._device = device
        self._opened: dict[str, Artifact] = {}

    def open(self, reference: str) -> Teacher:
        """A trained model by `run:DIR`.

        Raises:
            UsageError: there is none, or it was trained for another task or other classes.
        """
        if reference not in self._opened:
            self._opened[reference] = self._load(reference)
        return Teacher(reference, self._opened[reference].model)

    def rows(self) -> tuple[TeacherRows, ...]:
        """What was opened, each with the training rows as it wants to see them; models are moved to the device."""
        assembled, device = self._assembled, self._device
        config, data, task = assembled.config, assembled.data, assembled.task
        facts = facts_of_rows(task, data.facts)
        found = []
        for name, artifact in self._opened.items():
            model = artifact.model.to(device.torch_device).lay_out()
            examples = task.examples(data.tables.splits["train"], model.backbone.input, facts, True)
            spec = artifact.backbone
            identity = identity_of(
                config, assembled.builder.catalogue, spec, facts, (task, model.backbone, model.head, examples)
            )
            batch = max(config.batch_size, examples.evaluated_together)
            keeping = Keeping(identity, about_states(config), config.cache == "auto", batch, device)
            found.append(TeacherRows(name, model, Rows(examples, data.digests["train"]), keeping))
        return tuple(found)

    def _load(self, reference: str) -> Artifact:
        if not reference.startswith(RUN_SCHEME):
            raise UsageError(f"{reference!r} is no teacher", hint="Give run:DIR, the directory of a finished run")
        assembled = self._assembled
        artifact = load_artifact(Path(reference[len(RUN_SCHEME) :]), assembled.builder)
        task = artifact.card["task"]["name"]
        if not assembled.builder.catalogue.refers("", "tasks", [task], assembled.config.task):
            raise UsageError(f"{reference} was trained for {task}, and cannot teach {assembled.config.task}")
        theirs, ours = artifact.facts.get("classes"), assembled.data.facts.get("classes")
        if theirs != ours:
            hint = f"It knows {', '.join(map(str, (theirs or [])[:5]))}, the data has {', '.join(map(str, (ours or [])[:5]))}"
            raise UsageError(f"{reference} was trained for other classes than the data has", hint=hint)
        artifact.model.requires_grad_(False)
        artifact.model.eval()
        return artifact
