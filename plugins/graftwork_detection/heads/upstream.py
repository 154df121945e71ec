"""Key names of torchvision's detectors and of our own earlier heads, under one head's key names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

# Torchvision's published files of before 2022 say `conv.weight` where today's modules say `conv.0.0.weight`; upstream
# renames them while loading (`_load_from_state_dict` of FeaturePyramidNetwork and RPNHead, version 1 to 2).
_RENAMED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^backbone\.fpn\."), "pyramid.fpn."),
    (re.compile(r"^(pyramid\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"^(rpn\.head\.conv)\.(weight|bias)$"), r"\1.0.0.\2"),
)
# Towers of the first RetinaNet were convolution, ReLU, convolution, ReLU: `conv.2.weight` was the second convolution.
_OLD_TOWER = re.compile(r"^(head\.(?:classification|regression)_head\.conv)\.([0246])\.(weight|bias)$")
_BACKBONE = "backbone.body."
_LEVEL = re.compile(r"^(pyramid\.fpn\.(?:inner|layer)_blocks\.)(\d+)(\..+)$")


def to_own_names(foreign: Mapping[str, Tensor], maps: int, labelled: Sequence[str]) -> dict[str, Tensor]:
    """Another detector's tensors under a head's key names: neck as `pyramid.fpn.`, everything else as upstream has it.

    Args:
        foreign: an upstream detector's state dict, or that of a head trained here.
        maps: how many of the backbone's maps this head's pyramid takes. Pyramids are matched from the coarse end, where
            detectors agree: upstream's finest lateral of four has no place in a pyramid of three.
        labelled: key prefixes of what depends on the labels; left out.

    Returns:
        Everything but the upstream backbone (`backbone.body.`) and what depends on the labels. Names without a place in
        the head stay in, so that the loader reports them.
    """
    ours: dict[str, Tensor] = {}
    # The same place in a tower of FCOS is a ReLU, and in today's RetinaNet `conv.2.0.weight`.
    old_towers = "head.classification_head.conv.2.weight" in foreign
    for name, tensor in foreign.items():
        if name.startswith(_BACKBONE):
            continue
        for pattern, replacement in _RENAMED:
            name = pattern.sub(replacement, name)
        if old_towers:
            name = _OLD_TOWER.sub(lambda found: f"{found[1]}.{int(found[2]) // 2}.0.{found[3]}", name)
        if not name.startswith(tuple(labelled)):
            ours[name] = tensor
    theirs = 1 + max((int(found[2]) for found in map(_LEVEL.match, ours) if found), default=maps - 1)
    if theirs == maps:
        return ours
    return {_moved(name, maps - theirs): tensor for name, tensor in ours.items()}


def _moved(name: str, by: int) -> str:
    """A pyramid's key name, so many levels coarser; the upstream name for a level that would lie before the first."""
    found = _LEVEL.match(name)
    if not found:
        return name
    level = int(found[2]) + by
    return f"{found[1]}{level}{found[3]}" if level >= 0 else name.replace("pyramid.", "backbone.", 1)
