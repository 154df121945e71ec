"""What every test may ask for: the real data beside the repository, the installed command, one thread, no network."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# Before anything imports torch or datasets: two OpenMP threads on a busy machine are ten times slower than one, one thread
# makes results repeatable, and no test may depend on a network.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
os.environ.update(_ENVIRONMENT)

# A red run must be red again: properties try the same cases each time. HYPOTHESIS_PROFILE=explore tries new ones.
hypothesis.settings.register_profile("repeatable", derandomize=True)
hypothesis.settings.register_profile("explore", max_examples=1000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

REPOSITORY = Path(__file__).parents[1]

# Helpers that are no tests themselves (engine_toys, resume_kit); --import-mode=importlib leaves sys.path alone.
sys.path += [str(Path(__file__).parent / folder) for folder in ("core", "journeys")]


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def errors(self) -> list[str]:
        """The lines that say what went wrong."""
        return [line for line in self.stderr.splitlines() if line.startswith("graft: error:")]


Graft = Callable[..., Ran]


def run_command(words: Sequence[Any], **options: Any) -> Ran:
    """Run a command to its end; options as for `subprocess.run`."""
    given: Mapping[str, str] = options.pop("env", {})
    environment = {**os.environ, **_ENVIRONMENT, **given}
    options.setdefault("timeout", 300)
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, env=environment, **options)
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test finds what another session kept, or leaves anything in the user's cache."""
    os.environ["GRAFTWORK_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def said() -> Iterator[list[str]]:
    """The lines for people that are said during a test."""
    from graftwork.log import heard

    lines: list[str] = []
    with heard(lines.append):
        yield lines


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data sets beside the repository; what needs them is skipped where they are not."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the real data sets are not there: no folder {folder}")
    return folder


@pytest.fixture(scope="session")
def command() -> Graft:
    """Runs any command: `command([sys.executable, "-m", …], cwd=…)`."""
    return run_command


@pytest.fixture(scope="session")
def graft_path() -> Path:
    """The installed command, of the environment that runs the tests."""
    path = Path(sys.executable).with_name("graft")
    if not path.is_file():
        pytest.skip(f"graftwork is not installed: no command {path}")
    return path


@pytest.fixture(scope="session")
def graft(graft_path: Path) -> Graft:
    """Runs the installed command in a fresh process: `graft("train", "--task", …)`."""

    def call(*words: Any, **options: Any) -> Ran:
        return run_command([graft_path, *words], **options)

    return call


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    """One thread for tests that compute in this process (no import of torch for those that do not)."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
