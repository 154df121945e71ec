"""LoRA and BitFit: what trains gets gradients, what stays stays bit for bit, what is merged predicts as before."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adapter_toys import BITFIT, LORA, steps
from engine_toys import CONTEXT, copies, run_fit, toy_batch, toy_model
from safetensors.torch import load
from torch import Tensor

from graftwork import UsageError
from graftwork.engine.proofs import check_same_predictions
from graftwork.interfaces import Backbone, Batch, Model, Spec
from graftwork.testing.backbones import BackboneConformance, Probe
from graftwork.testing.fits import no_teacher


def image_model(name: str) -> tuple[Model, Batch]:
    from graftwork_images.backbones import BUILDERS

    torch.manual_seed(0)
    backbone = BUILDERS[name](Spec(name))
    pixels = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    return Model(backbone, Probe({"pooled": backbone.provides["pooled"]})), Batch(
        torch.arange(3), {"pixels": pixels}, {}
    )


TEXTS: dict[str, dict[str, Any]] = {
    "bert": {},
    "albert": {"embedding_size": 8},
    "deberta-v2": {"relative_attention": True, "position_buckets": 8, "pos_att_type": ["p2c", "c2p"]},
    "modernbert": {"local_attention": 4, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, "cls_token_id": 1,
                   "sep_token_id": 1},
}  # fmt: skip


def text_model(kind: str) -> tuple[Model, Batch]:
    from graftwork.interfaces import TextInput
    from graftwork_text.backbones.staged import TextBackbone

    sizes = {
        "vocab_size": 60,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    }
    config = {"model_type": kind, "max_position_embeddings": 40, **sizes, **TEXTS[kind]}
    torch.manual_seed(0)
    backbone = TextBackbone(json.dumps(config), "auto", TextInput("", 20), 0)
    tokens = torch.randint(3, 60, (3, 9))
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, 5:] = False
    return Model(backbone, Probe({"pooled": 16})), Batch(torch.arange(3), {"tokens": tokens, "mask": mask}, {})


def toys(_: str) -> tuple[Model, Batch]:
    return toy_model(norm=True), toy_batch(4)


NETS: list[tuple[Callable[[str], tuple[Model, Batch]], str]] = [
    (toys, "toy"),
    *(
        (image_model, name)
        for name in ("graftnet-s", "resnet18", "mobilenet_v3_small", "convnext_tiny", "swin_t", "vit_b_32")
    ),
    *((text_model, kind) for kind in TEXTS),
]
nets = pytest.mark.parametrize(("make", "name"), NETS, ids=[name for _, name in NETS])


@nets
def test_lora_trains_its_adapters_alone_and_merges_to_the_same_predictions(
    make: Callable[[str], tuple[Model, Batch]], name: str
) -> None:
    model, batch = make(name)
    plain = copy.deepcopy(model)
    shape = {key: value.shape for key, value in model.state_dict().items()}
    torch.manual_seed(1)
    LORA.prepare(model, batch, no_teacher)
    at_start = model.predict(batch)
    check_same_predictions(plain.predict(batch), at_start, 1e-6)
    steps(model, LORA, batch)
    before = model.predict(batch)
    with pytest.raises(Exception, match="predicts otherwise"):
        check_same_predictions(at_start, before, 1e-6)
    files = LORA.finish(model)
    check_same_predictions(before, model.predict(batch), 1e-4)
    assert {key: value.shape for key, value in model.state_dict().items()} == shape, "the plain net again"

    # peft itself puts the saved adapter onto the plain net, and it predicts the same.
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict

    config = json.loads(files["adapter/adapter_config.json"])
    tensors = load(files["adapter/adapter_model.safetensors"])
    kept = ("r", "lora_alpha", "target_modules", "bias", "lora_dropout")
    inject_adapter_in_model(LoraConfig(**{key: config[key] for key in kept}), plain.backbone)
    short = {key.removeprefix("base_model.model."): value for key, value in tensors.items()}
    result = set_peft_model_state_dict(plain.backbone, short)
    assert not result.unexpected_keys
    plain.head.load_state_dict(model.head.state_dict())
    check_same_predictions(plain.predict(batch), before, 1e-4)


@nets
def test_bitfit_trains_biases_alone(make: Callable[[str], tuple[Model, Batch]], name: str) -> None:
    model, batch = make(name)
    if name == "modernbert":  # it has no biases at all
        with pytest.raises(UsageError, match="no biases"):
            BITFIT.plan(model, CONTEXT)
        return
    (phase,) = BITFIT.plan(model, CONTEXT).phases
    names = {key for group in phase.groups for key in group.parameters if key.startswith("backbone.")}
    assert names == {key for key, _ in model.named_parameters() if key.startswith("backbone.") and key.endswith("bias")}
    steps(model, BITFIT, batch)


def test_a_resumed_lora_fit_ends_like_the_uninterrupted_one(tmp_path: Path) -> None:
    from graftwork.interfaces import Observer, StepRecord

    class Stop(Observer):
        def step_end(self, record: StepRecord) -> None:
            if record.step == 7:
                raise KeyboardInterrupt

    def fresh() -> Model:
        torch.manual_seed(3)
        return toy_model(norm=True)

    whole = run_fit(fresh(), LORA, tmp_path / "whole")
    torch.manual_seed(3)
    with pytest.raises(KeyboardInterrupt):
        run_fit(fresh(), LORA, tmp_path / "part", observers=[Stop()], checkpoint_steps=3)
    resumed = run_fit(fresh(), LORA, tmp_path / "part", resume=True, checkpoint_steps=3)
    first, second = copies(whole.fit.model), copies(resumed.fit.model)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_net_without_layers_to_adapt_is_refused() -> None:
    model = toy_model(stages=1)
    with pytest.raises(UsageError, match="no linear layer"):
        LORA.prepare(model, toy_batch(), no_teacher)


def test_the_frozen_proof_covers_weights_that_no_group_trains(tmp_path: Path) -> None:
    fitted = run_fit(toy_model(norm=True), BITFIT, tmp_path)
    (proof,) = fitted.fit.progress.proofs
    assert "beside what trains" in proof and "bit-identical" in proof


def test_peft_loads_the_saved_folder_onto_the_plain_net(tmp_path: Path) -> None:
    from peft import PeftModel

    model, batch = toys("")
    plain = copy.deepcopy(model)
    LORA.prepare(model, batch, no_teacher)
    steps(model, LORA, batch)
    before = model.predict(batch)
    for name, content in LORA.finish(model).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    plain.head.load_state_dict(model.head.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a key that is missing is only warned of
        PeftModel.from_pretrained(plain.backbone, str(tmp_path / "adapter"))
        LORA.prepare(model, batch, no_teacher)  # the merged net is a plain net: it can be adapted again
    check_same_predictions(before, plain.predict(batch), 1e-5)


class TestFinishedNet(BackboneConformance):
    """A net that was adapted and merged is a backbone like any other."""

    def build(self) -> Backbone:
        with torch.random.fork_rng(devices=[]):
            model, batch = image_model("graftnet-s")
        LORA.prepare(model, batch, no_teacher)
        LORA.finish(model)
        return model.backbone

    def inputs(self) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(0)
        return {"pixels": torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8, generator=generator)}
