"""What a plugin sees: the public names, listed once."""

from graftwork.interfaces.backbone import Backbone, ImageInput, InputFacts, TextInput
from graftwork.interfaces.batch import Batch, Features, Outputs, Predictions, State, Targets
from graftwork.interfaces.builders import (
    BackboneBuilder,
    DatasetBuilder,
    HeadBuilder,
    ObserverBuilder,
    Opener,
    Pretrained,
    Spec,
    StrategyBuilder,
    TaskBuilder,
)
from graftwork.interfaces.data import DataRequest, Examples, Facts, Finding, Tables
from graftwork.interfaces.head import Head
from graftwork.interfaces.inputs import Inputs
from graftwork.interfaces.model import Model
from graftwork.interfaces.observer import EpochRecord, FitRecord, Observer, StepRecord
from graftwork.interfaces.page import Figure, Passages, Pictures, Section, Table, Text
from graftwork.interfaces.strategy import Group, Phase, Plan, PlanContext, Solver, Strategy, stage_groups
from graftwork.interfaces.stream import LABELLED, Items, Stream
from graftwork.interfaces.task import Evaluation, Metrics, Task
from graftwork.interfaces.teacher import OpenTeacher, Teacher
from graftwork.interfaces.term import Term

__all__ = [
    "LABELLED",
    "Backbone",
    "BackboneBuilder",
    "Batch",
    "DataRequest",
    "DatasetBuilder",
    "EpochRecord",
    "Evaluation",
    "Examples",
    "Facts",
    "Features",
    "Figure",
    "Finding",
    "FitRecord",
    "Group",
    "Head",
    "HeadBuilder",
    "ImageInput",
    "InputFacts",
    "Inputs",
    "Items",
    "Metrics",
    "Model",
    "Observer",
    "ObserverBuilder",
    "OpenTeacher",
    "Opener",
    "Outputs",
    "Passages",
    "Phase",
    "Pictures",
    "Plan",
    "PlanContext",
    "Predictions",
    "Pretrained",
    "Section",
    "Solver",
    "Spec",
    "State",
    "StepRecord",
    "Strategy",
    "StrategyBuilder",
    "Stream",
    "Table",
    "Tables",
    "Targets",
    "Task",
    "TaskBuilder",
    "Teacher",
    "Term",
    "Text",
    "TextInput",
    "stage_groups",
]
