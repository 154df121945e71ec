"""LoRA: the backbone's weights stay, small low-rank matrices beside them train; merged into them at the end. By peft."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from graftwork.errors import UsageError
from graftwork.interfaces import Batch, Group, Model, Phase, Plan, PlanContext, Spec, Strategy, stage_groups

FOLDER = "adapter"
_NAME = "default"


@dataclass(frozen=True)
class Lora(Strategy):
    """Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models"; on all linear layers as in Dettmers et al. 2023.

    Adapted are the linear layers and plain convolutions that a forward pass calls, from the second stage on. Layers whose
    weights are read without calling them (`nn.MultiheadAttention`'s, torchvision's Swin attention) have no place for an
    adapter and are left out. Everything else is frozen, BatchNorm's statistics included.

    Args:
        rank: of the matrices.
        alpha: the adapters' output is scaled by alpha / rank.
        dropout: share of the adapters' input left out in training, 0 to 1.
    """

    rank: int
    alpha: float
    dropout: float

    def prepare(self, model: Model, batch: Batch) -> None:
        """Inject the adapters.

        Raises:
            UsageError: the backbone has no layer that can be adapted.
        """
        from peft import LoraConfig, inject_adapter_in_model

        targets = adaptable(model, batch)
        if not targets:
            raise UsageError(
                "this backbone has no linear layer or convolution to adapt", hint="Use --strategy partial:2"
            )
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type] (peft divides by the rank; a float is right)
            lora_dropout=self.dropout,
            target_modules=targets,
            bias="none",
        )
        inject_adapter_in_model(config, model.backbone, adapter_name=_NAME)

    def plan(self, model: Model, context: PlanContext) -> Plan:
        groups: list[Group] = []
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        adapted: list[int] = []
        for index, stage in enumerate(model.backbone.stages()):
            mine = tuple(names[id(p)] for name, p in stage.named_parameters() if "lora_" in name)
            if mine:
                adapted.append(index)
                groups.append(Group(f"stage{index}/adapter", mine, 1.0, context.weight_decay))
        frozen = adapted[0]
        layers = sum(len(group.parameters) // 2 for group in groups)
        head = stage_groups(model, len(model.backbone.stages()), context.weight_decay)
        phase = Phase(
            name="lora",
            epochs=context.epochs,
            frozen_stages=frozen,
            groups=(*groups, *head),
            lr=context.lr,
            schedule=context.schedule,
            warmup=context.warmup,
            reason=f"matrices of rank {self.rank} beside {layers} layers adapt, the weights are kept",
            frozen_statistics=True,
        )
        return Plan("lora", (phase,))

    def finish(self, model: Model) -> Mapping[str, bytes]:
        """Merge the adapters into the weights; the adapter alone is returned in peft's own form."""
        from safetensors.torch import save

        tensors: dict[str, torch.Tensor] = {}
        targets: list[str] = []
        for path, layer in _adapters(model.backbone):
            targets.append(path)
            for part in ("lora_A", "lora_B"):
                weight = getattr(layer, part)[_NAME].weight
                tensors[f"base_model.model.{path}.{part}.weight"] = weight.detach().cpu().contiguous()
        config = {
            "peft_type": "LORA",
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "bias": "none",
            "target_modules": sorted(targets),
            "inference_mode": True,
        }
        for path, layer in _adapters(model.backbone):
            layer.merge(safe_merge=True)
            parent, _, name = path.rpartition(".")
            setattr(model.backbone.get_submodule(parent), name, layer.get_base_layer())
        return {
            f"{FOLDER}/adapter_model.safetensors": save(tensors, {"format": "pt"}),
            f"{FOLDER}/adapter_config.json": (json.dumps(config, indent=1) + "\n").encode(),
        }


def adaptable(model: Model, batch: Batch) -> list[str]:
    """Paths in the backbone of linear layers and plain convolutions that a forward pass calls, from the second stage on.

    Args:
        batch: on the model's device; what it holds does not matter.
    """
    backbone = model.backbone
    later = {id(module) for stage in list(backbone.stages())[1:] for module in stage.modules()}
    called: set[str] = set()
    handles = []
    for path, module in backbone.named_modules():
        plain = isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.groups == 1)
        if plain and id(module) in later:
            handles.append(module.register_forward_hook(lambda *_, path=path: called.add(path)))
    training = model.training
    model.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            # With gradients: without them, attention of PyTorch's own may take a path around its layers.
            model.features(batch)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    return sorted(called)


def _adapters(backbone: nn.Module) -> list[tuple[str, Any]]:
    from peft.tuners.lora.layer import LoraLayer

    return [(path, module) for path, module in backbone.named_modules() if isinstance(module, LoraLayer)]


def build(spec: Spec) -> Strategy:
    """The strategy `lora`."""
    return Lora(int(spec.options["rank"]), float(spec.options["alpha"]), float(spec.options["dropout"]))
