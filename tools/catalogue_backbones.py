"""Print the `backbones:` entries of torchvision's families for registry.yaml, from torchvision's own weight tables.

    python tools/catalogue_backbones.py > entries.yaml

Run it when torchvision adds weights or a family is cut differently, and merge the result by hand. Weights whose licence
forbids commercial use (SWAG) are left out. `size` is bytes, about: torchvision publishes megabytes with three decimals.
"""

from __future__ import annotations

import re
import sys
from typing import Any

import torch
from torchvision import models

from graftwork.interfaces import Backbone, Spec
from graftwork_images.backbones import BUILDERS
from graftwork_images.backbones.families import FAMILY_OF, preprocessing

_LICENCE = "BSD-3-Clause"


def entry(name: str) -> str:
    """One backbone as YAML, two levels deep."""
    with torch.device("meta"):
        backbone = BUILDERS[name](Spec(name))
    builder = BUILDERS[name]
    default = models.get_model_weights(name).DEFAULT
    features = ", ".join(f"{feature}: {channels}" for feature, channels in backbone.provides.items())
    size = _IMAGE_SIZE.format(step=f"; a multiple of {name[-2:]}" if name.startswith("vit") else "")
    lines = [
        f"  {name}:",
        "    plugin: graftwork-images",
        f"    factory: {builder.__module__}:{builder.__name__}",
        f"    summary: {FAMILY_OF[name].title}",
        "    modality: image",
        f"    features: {{{features}}}",
        f"    stages: {len(backbone.stages())}",
        f"    parameters: {sum(parameter.numel() for parameter in backbone.parameters())}",
        f"    licence: {_LICENCE}",
        f"    options: {{image_size: {size}}}",
        f"    default_weights: {_key(default)}",
        "    weights:",
        *(f"      {_key(weights)}: {_weights(weights, backbone)}" for weights in _kept(name)),
        f"    input: {{size: {backbone.input.size}, resize: {backbone.input.resize}}}",
        *([_SMALLER] if re.match("(wide_)?resne[x]?t", name) and backbone.input.size == 224 else []),
    ]
    return "\n".join(lines)


# Torchvision's own recipe for the second weights of these networks trains at 176 pixels, too.
_SMALLER = (
    '    recipe: {tasks: [image-classification], source: "Touvron et al. 2019 (FixRes): trained at 176 pixels and used at 224, '
    'faster and as good", settings: {task_options.train_size: 176}}'
)

_IMAGE_SIZE = (
    "{{type: int, default: 0, minimum: 0, maximum: 2048, "
    'summary: "pixels, the side of the picture; 0 for what the weights were trained on{step}"}}'
)


def _kept(name: str) -> list[Any]:
    return [weights for weights in models.get_model_weights(name) if re.fullmatch(r"IMAGENET1K_V\d", weights.name)]


def _key(weights: Any) -> str:
    return str(weights.name).lower().replace("_", "-")


def _weights(weights: Any, backbone: Backbone) -> str:
    prefix = re.search(r"-([0-9a-f]{8,64})\.pth$", weights.url)
    if prefix is None:
        raise ValueError(f"{weights.url} carries no hash")
    top1 = weights.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    facts = preprocessing(weights)
    parts = [
        f'source: "{weights.url}"',
        f"size: {round(weights.meta['_file_size'] * 2**20)}",
        f'sha256: "{prefix.group(1)}"',
        f"revision: {weights.name}",
        f"licence: {_LICENCE}",
        f'summary: "ImageNet-1k, top-1 {top1:.1f} %"',
        f"metrics: {{top1: {top1}}}",
    ]
    if facts != backbone.input:
        if (facts.mean, facts.std) != (backbone.input.mean, backbone.input.std):
            raise ValueError(f"{weights} has a mean or spread of its own")
        parts.append(f"input: {{size: {facts.size}, resize: {facts.resize}, interpolation: {facts.interpolation}}}")
    return f"{{{', '.join(parts)}}}"


if __name__ == "__main__":
    sys.stdout.write("backbones:\n" + "\n".join(entry(name) for name in FAMILY_OF) + "\n")
