"""`graft` as on a processor without bf16: where there is bf16, `predict` computes in it, and rounds at the third digit."""

import runpy

import torch

torch.cpu._is_amx_tile_supported = lambda: False
torch.cpu._is_avx512_bf16_supported = lambda: False
runpy.run_module("graftwork", run_name="__main__")
