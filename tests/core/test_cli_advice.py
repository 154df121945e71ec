"""Advice of `graft doctor`: what each machine is told, and that a good one is told nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from graftwork.cli.advice import Machine, advise, physical_cores, this_machine

GOOD = Machine(
    cores=16, physical_cores=16, quota=None, threads=16, shared_memory=2**33, open_files=65536, huge_pages="madvise",
    compiler="/usr/bin/g++", gpu=True, cuda="12.8", environment={},
)  # fmt: skip


def test_a_machine_on_which_nothing_is_to_be_gained_gets_no_advice() -> None:
    assert advise(GOOD) == {}
    assert advise(Machine(compiler="g++")) == {}, "nor one of which nothing is known"


@pytest.mark.parametrize(
    ("changes", "about", "says"),
    [
        ({"cores": 64, "threads": 64, "quota": 2.5}, "threads", "graft train uses 2"),
        ({"threads": 16, "quota": 2.5, "environment": {"OMP_NUM_THREADS": "16"}}, "threads", "set OMP_NUM_THREADS=2"),
        ({"threads": 1, "quota": 0.5, "cores": 1}, None, ""),
        ({"threads": 1, "environment": {"OMP_NUM_THREADS": "1"}}, "threads", "1 of 16 cores compute.*torchrun"),
        ({"threads": 4, "environment": {"MKL_NUM_THREADS": "4"}}, "threads", "MKL_NUM_THREADS=4: 4 of 16"),
        ({"cores": 32, "threads": 32}, "threads", "OMP_NUM_THREADS=16 is usually faster"),
        ({"environment": {"ONEDNN_MAX_CPU_ISA": "AVX2"}}, "instructions", "ONEDNN_MAX_CPU_ISA=AVX2 keeps torch"),
        ({"environment": {"ONEDNN_MAX_CPU_ISA": "ALL"}}, None, ""),
        ({"shared_memory": 64 * 2**20}, "shared memory", "/dev/shm, which has 64 MiB"),
        ({"open_files": 256}, "open files", "may open 256 files"),
        ({"compiler": None}, "compiler", "install g"),
        ({"cuda": None}, "gpu", "built without CUDA"),
        ({"cuda": None, "gpu": False}, None, ""),
    ],
)
def test_each_advice_is_given_where_it_applies_and_alone(changes: dict[str, Any], about: str | None, says: str) -> None:
    import re

    found = advise(replace(GOOD, **changes))
    assert list(found) == ([about] if about else [])
    assert about is None or re.search(says, found[about])


def test_hyper_threads_share_a_core() -> None:
    blocks = [f"processor: {n}\nphysical id : {n // 4}\ncore id : {n % 2}" for n in range(8)]
    assert physical_cores("\n\n".join(blocks)) == 4
    assert physical_cores("processor: 0\nmodel name: x") is None, "some machines do not say"


def test_this_machine_can_be_looked_at() -> None:
    found = this_machine(2, None, 2, None)
    assert found.cores == 2 and found.environment
    assert all(isinstance(text, str) for text in advise(found).values())
