"""Which number format to compute in, decided by asking the hardware."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(requested: str, device: torch.device) -> tuple[str, str]:
    """The precision for a device, with the reason: `auto` asks the hardware, anything else is taken as it is."""
    if requested != "auto":
        return requested, "as set"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", f"{torch.cuda.get_device_name(device)} computes bf16 natively"
        return "fp32", f"{torch.cuda.get_device_name(device)} has no bf16"
    if device.type == "cpu":
        if torch.cpu._is_amx_tile_supported():
            return "bf16", "this CPU has AMX"
        if torch.cpu._is_avx512_bf16_supported():
            return "bf16", "this CPU has AVX512-BF16"
        return "fp32", "this CPU has neither AMX nor AVX512-BF16, where bf16 would be slower"
    return "fp32", f"bf16 is not known to pay on {device.type}"


def autocast(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """The context in which forward passes run."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype=DTYPES[precision])


def set_up_math(device: torch.device) -> None:
    """Fast and repeatable: TF32 for fp32 matrix products, deterministic convolution kernels."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True
        # Exact resume needs the same kernel in both runs: no autotuning by timing, no atomics.
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
