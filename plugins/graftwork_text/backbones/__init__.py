"""Text backbones: transformers' encoders in stages. What is fixed of each stands in `named`; foreign ones in `sources`."""

from __future__ import annotations

from collections.abc import Mapping

from graftwork.interfaces import BackboneBuilder, Opener
from graftwork_text.backbones.named import build_graftext_s, build_minilm_l6, build_transformers
from graftwork_text.backbones.sources import open_pretrained

BUILDERS: Mapping[str, BackboneBuilder] = {
    "transformers": build_transformers,
    "minilm-l6": build_minilm_l6,
    "graftext-s": build_graftext_s,
}

OPENERS: Mapping[str, Opener] = {"transformers": open_pretrained}
