"""LoRA: the backbone's weights stay, small low-rank matrices beside them train; merged into them at the end. By peft."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from graftwork.errors import UsageError
from graftwork.interfaces import (
    Backbone,
    Batch,
    Features,
    Group,
    Model,
    OpenTeacher,
    Phase,
    Plan,
    PlanContext,
    Spec,
    Strategy,
    stage_groups,
)

FOLDER = "adapter"
_NAME = "default"


@dataclass(frozen=True)
class Lora(Strategy):
    """Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models"; on all linear layers as in Dettmers et al. 2023.

    Adapted are the linear layers and plain convolutions that a forward pass calls, from the second stage on. Left out are
    layers without a place for an adapter: their weights are read without calling them (`nn.MultiheadAttention`,
    `nn.TransformerEncoderLayer`, torchvision's Swin attention), stand in two places, or are computed (weight norm).
    Everything else is frozen, BatchNorm's statistics included.

    Args:
        rank: of the matrices.
        alpha: the adapters' output is scaled by alpha / rank.
        dropout: share of the adapters' input left out in training, 0 to 1.
    """

    rank: int
    alpha: float
    dropout: float

    def prepare(self, model: Model, batch: Batch, open: OpenTeacher) -> None:
        """Inject the adapters.

        Raises:
            UsageError: the backbone has no layer that can be adapted, or uses one in a way that a merge would not keep.
        """
        from peft import LoraConfig, inject_adapter_in_model

        targets = adaptable(model, batch)
        if not targets:
            raise UsageError(
                "this backbone has no linear layer or plain convolution to adapt after its first stage",
                hint="Use --strategy partial:2",
            )
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # peft only divides it by the rank
            lora_dropout=self.dropout,
            target_modules=_exactly(targets),
            bias="none",
        )
        inject_adapter_in_model(config, model.backbone, adapter_name=_NAME)
        _prove_merge(model, batch)

    def plan(self, model: Model, context: PlanContext) -> Plan:
        groups: list[Group] = []
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        adapted: list[int] = []
        adapters = {id(p) for _, layer in _adapters(model.backbone) for p in _matrices(layer)}
        for index, stage in enumerate(model.backbone.stages()):
            mine = tuple(names[id(p)] for p in stage.parameters() if id(p) in adapters)
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
            "target_modules": _exactly(targets),
            "inference_mode": True,
        }
        for path, layer in _adapters(model.backbone):
            layer.merge(safe_merge=True)
            parent, _, name = path.rpartition(".")
            setattr(model.backbone.get_submodule(parent), name, layer.get_base_layer())
        model.backbone.requires_grad_(True)
        del model.backbone.peft_config  # peft's note to itself, or it would warn of a second adapter next time
        return {
            f"{FOLDER}/adapter_model.safetensors": save(tensors, {"format": "pt"}),
            f"{FOLDER}/adapter_config.json": (json.dumps(config, indent=1) + "\n").encode(),
        }


def adaptable(model: Model, batch: Batch) -> list[str]:
    """Paths in the backbone of layers that can be adapted, from the second stage on.

    A forward pass calls such a layer, a gradient reaches its weight, and the weight is its own. Every parameter of the
    backbone requires a gradient afterwards.

    Args:
        batch: on the model's device; what it holds does not matter.
    """
    candidates = _candidates(model.backbone)
    model.backbone.requires_grad_(True)
    called: set[str] = set()
    handles = [
        layer.register_forward_hook(lambda *_, path=path: called.add(path)) for path, layer in candidates.items()
    ]
    try:
        # With gradients: without them, attention of PyTorch's own may take a path around its layers.
        features = _features(model, batch, True)
    finally:
        for handle in handles:
            handle.remove()
    paths = sorted(called)
    outputs = [value.float().sum() for value in features.values() if value.requires_grad]
    if not paths or not outputs:
        return []
    weights = [candidates[path].weight for path in paths]
    reached = torch.autograd.grad(torch.stack(outputs).sum(), weights, allow_unused=True)
    return [path for path, gradient in zip(paths, reached, strict=True) if gradient is not None]


def _candidates(backbone: Backbone) -> dict[str, nn.Linear | nn.Conv2d]:
    """Linear layers and plain convolutions after the first stage by path, without those whose weight is not their own."""
    later = {id(module) for stage in list(backbone.stages())[1:] for module in stage.modules()}
    # Evaluating without hooks, these read the weights of their layers instead of calling them.
    fast = [module for module in backbone.modules() if isinstance(module, nn.TransformerEncoderLayer)]
    later -= {id(module) for layer in fast for module in layer.modules()}
    holders = Counter(id(p) for module in backbone.modules() for p in module.parameters(recurse=False))
    places: dict[int, set[tuple[int, str]]] = {}
    for path, module in backbone.named_modules(remove_duplicate=False):
        parent, _, name = path.rpartition(".")
        # A layer of a block that is applied several times (ALBERT) has several paths, but one place: its block.
        places.setdefault(id(module), set()).add((id(backbone.get_submodule(parent)), name))
    found: dict[str, nn.Linear | nn.Conv2d] = {}
    for path, module in backbone.named_modules():
        if id(module) not in later or len(places[id(module)]) > 1 or not _plain(module):
            continue
        # No parameter of that name: weight norm and the like compute it, and a merged weight would be overwritten.
        weight = dict(module.named_parameters(recurse=False)).get("weight")
        if weight is not None and holders[id(weight)] == 1:
            found[path] = cast("nn.Linear | nn.Conv2d", module)
    return found


def _plain(module: nn.Module) -> bool:
    """Whether peft can stand beside it: its convolutions know neither groups, dilation nor other padding than zeros."""
    if isinstance(module, nn.Linear):
        return type(module).forward is nn.Linear.forward
    return (
        type(module) is nn.Conv2d
        and module.groups == 1
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
    )


def _features(model: Model, batch: Batch, gradients: bool) -> Features:
    """What the head gets, in eval mode."""
    training = model.training
    model.eval()
    try:
        with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(gradients):
            return model.features(batch)
    finally:
        model.train(training)


@torch.no_grad()
def _prove_merge(model: Model, batch: Batch) -> None:
    """Merge random matrices and take them out again: a layer that is used in an unforeseen way shows here, not after
    the training."""
    layers = [layer for _, layer in _adapters(model.backbone)]
    weights = [layer.get_base_layer().weight.clone() for layer in layers]
    for layer in layers:
        matrix = layer.lora_B[_NAME].weight
        matrix.normal_(std=0.1 / (layer.scaling[_NAME] * matrix.shape[1] ** 0.5))
    beside = _features(model, batch, False)
    for layer in layers:
        layer.merge()
    merged = _features(model, batch, False)
    for layer, weight in zip(layers, weights, strict=True):
        layer.unmerge()
        layer.get_base_layer().weight.copy_(weight)  # bit for bit, which unmerging is not
        layer.lora_B[_NAME].weight.zero_()
    for name, value in beside.items():
        if value.is_floating_point():
            size = max(1.0, float(value.nan_to_num(posinf=0, neginf=0).abs().max()))
            if not torch.allclose(merged[name], value, rtol=0, atol=1e-3 * size, equal_nan=True):
                raise UsageError(
                    f"adapters would not merge into this backbone: {name!r} comes out otherwise",
                    hint="Use --strategy bitfit or partial:2",
                )


def _exactly(paths: Sequence[str]) -> str:
    """These modules as peft's pattern; peft takes each path of a list for the end of a path too."""
    return "|".join(re.escape(path) for path in sorted(paths))


def _adapters(backbone: nn.Module) -> list[tuple[str, Any]]:
    from peft.tuners.lora.layer import LoraLayer

    return [(path, module) for path, module in backbone.named_modules() if isinstance(module, LoraLayer)]


def _matrices(layer: Any) -> list[nn.Parameter]:
    return [layer.lora_A[_NAME].weight, layer.lora_B[_NAME].weight]


def build(spec: Spec) -> Strategy:
    """The strategy `lora`."""
    return Lora(int(spec.options["rank"]), float(spec.options["alpha"]), float(spec.options["dropout"]))
