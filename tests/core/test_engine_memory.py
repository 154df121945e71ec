"""Memory limits that are real: of a child process, and of a control group around the installed command."""

from __future__ import annotations

import os
import resource
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from graftwork.machine import memory
from graftwork.machine.memory import bound_memory, memory_left, reserve_memory

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux counts a process's memory so")

CHILD = Path(__file__).with_name("memory_child.py")


def steps(command, tmp_path: Path, mebibytes: int, trying: str = "no") -> tuple[dict[str, torch.Tensor], str]:  # type: ignore[no-untyped-def]
    """The weights after three steps in a process with so much memory, and what it said."""
    path = tmp_path / f"{mebibytes}-{trying}.safetensors"
    done = command([sys.executable, CHILD, mebibytes, trying, path])
    assert done.code == 0, done.stdout + done.stderr
    return load_file(path), done.stdout


@pytest.mark.acceptance
@pytest.mark.parametrize("trying", ["no", "try"])
def test_a_step_that_the_kernel_gives_no_memory_for_is_split_and_gives_the_same_weights(  # type: ignore[no-untyped-def]
    command, tmp_path: Path, trying: str
) -> None:
    free, said = steps(command, tmp_path, 0)
    assert "took None" in said
    short, said = steps(command, tmp_path, 400, trying)
    took = int(said.split("took ")[1])
    assert 4 <= took <= 32
    assert ("out of memory with 64 rows" in said) == (trying == "no"), (
        "what was tried first does not run into the limit"
    )
    assert max(float((free[name] - short[name]).abs().max()) for name in free) < 1e-5


def test_nothing_is_bounded_where_there_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_limit", lambda: None)
    before = resource.getrlimit(resource.RLIMIT_DATA)
    bound_memory()()
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


@pytest.fixture
def group() -> Iterator[Path]:
    """A memory control group with 1,300 MiB, of either version; only root may make one."""
    places = [Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")]
    name = f"graftwork-{uuid.uuid4().hex[:8]}"
    for place in places:
        folder = place / name
        try:
            folder.mkdir()
        except OSError:
            continue
        for limit in ("memory.limit_in_bytes", "memory.max"):
            if (folder / limit).is_file():
                (folder / limit).write_text(str(1300 * 2**20))
                yield folder
                folder.rmdir()
                return
        folder.rmdir()
    pytest.skip("no memory control group can be made here")


TRAIN = (
    "train", "--task", "image-classification", "--data", "sample:digits", "--backbone", "squeezenet1_1", "--weights",
    "none", "--set", "backbone_options.image_size=224", "--batch-size", "64", "--limit-train", "64", "--epochs", "1",
    "--precision", "fp32", "--optimizer", "sgd", "--lr", "0.01", "--set", "head_options.dropout=0", "--workers", "0",
    "--warmup", "0",
)  # fmt: skip


@pytest.mark.acceptance
def test_a_run_under_a_control_group_is_not_killed_and_ends_where_a_free_one_does(  # type: ignore[no-untyped-def]
    command, graft_path: Path, group: Path, tmp_path: Path
) -> None:
    inside = f'echo $$ > {group}/cgroup.procs && exec "$@"'
    done = command(["sh", "-c", inside, "sh", graft_path, *TRAIN, "--out", tmp_path / "short"], timeout=600)
    assert done.code == 0, done.stderr
    assert "memory: the control group leaves" in done.stderr and "micro-batches of" in done.stderr
    free = command([graft_path, *TRAIN, "--out", tmp_path / "free"], timeout=600)
    assert free.code == 0, free.stderr
    assert "micro-batches" not in free.stderr
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("short", "free"))
    assert max(float((first[name] - second[name]).abs().max()) for name in first) < 1e-5


BOUNDED = """
import resource, sys
from graftwork.machine import memory
from graftwork.machine.cgroup import MemoryLimit
memory.memory_limit = lambda: MemoryLimit(2**30, 200 * 2**20, "there")
said = []
from graftwork.log import heard
with heard(said.append):
    undo = memory.bound_memory()
left = memory.memory_left()
assert 150 * 2**20 < left < 175 * 2**20, left
import torch
try:
    torch.ones(60 * 2**20)
except RuntimeError as error:
    assert memory.is_out_of_memory(error), error
else:
    raise SystemExit("240 MB were given")
memory.reserve_memory(50 * 2**20)
assert memory.memory_left() <= left - 45 * 2**20
undo()
assert memory.memory_left() is None
torch.ones(60 * 2**20)
assert said == ["memory: the control group leaves 0.17 GiB; a step that needs more is split"], said
"""


def test_allocations_fail_before_the_limit_until_it_is_undone(command) -> None:  # type: ignore[no-untyped-def]
    done = command([sys.executable, "-c", BOUNDED])
    assert done.code == 0, done.stdout + done.stderr


def test_training_processes_of_one_machine_share_what_is_left(command) -> None:  # type: ignore[no-untyped-def]
    code = BOUNDED.replace("200 * 2**20", "400 * 2**20").replace("0.17", "0.18").replace("175", "190")
    done = command([sys.executable, "-c", code], env={"LOCAL_WORLD_SIZE": "2"})
    assert done.code == 0, done.stdout + done.stderr


def test_a_stricter_limit_of_the_user_stays(command) -> None:  # type: ignore[no-untyped-def]
    code = """
import resource
from graftwork.machine import memory
from graftwork.machine.cgroup import MemoryLimit
own = memory._private_memory() + 2**26
resource.setrlimit(resource.RLIMIT_DATA, (own, own))
memory.memory_limit = lambda: MemoryLimit(2**34, 2**33, "there")
undo = memory.bound_memory()
assert resource.getrlimit(resource.RLIMIT_DATA)[0] == own
undo()
assert resource.getrlimit(resource.RLIMIT_DATA) == (own, own)
"""
    done = command([sys.executable, "-c", code])
    assert done.code == 0, done.stdout + done.stderr


def test_reserving_means_nothing_without_a_bound() -> None:
    if memory_left() is not None:
        pytest.skip("this process is bounded already")
    reserve_memory(2**30)
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY
    assert os.getpid() > 0
