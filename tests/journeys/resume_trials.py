"""Kill and resume many runs, in a process of its own: `python tests/journeys/resume_trials.py --help`.

Prints one JSON document: what was tried, how many runs ended bit-identical, and every one that did not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import datasets  # noqa: F401
import matplotlib.backends.backend_svg  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch  # noqa: F401
import torchmetrics.classification  # noqa: F401
import torchvision  # noqa: F401
import transformers  # noqa: F401
from planted_bugs import PLANTED
from resume_kit import BASES, COMPILED, STEPS, Outcome, killed_then_resumed, uninterrupted, wait

import graftwork.run  # noqa: F401 (imported before the forks, so that each costs a second)


def main() -> int:
    """Run the trials that the arguments ask for; exit code 1 when one of them went wrong."""
    arguments = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="resume-"))
    started = time.monotonic()
    try:
        result: dict[str, Any] = {"strategies": {}}
        for strategy in arguments.strategies.split(","):
            result["strategies"][strategy] = _strategy(folder, strategy, arguments)
        if arguments.bugs:
            result["planted_bugs"] = _bugs(folder, arguments.bugs.split(","))
        result["seconds"] = round(time.monotonic() - started, 1)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(result, indent=1))  # noqa: T201
    different = [outcome["different"] for outcome in result["strategies"].values()]
    missed = [name for name, caught in result.get("planted_bugs", {}).items() if not caught]
    return 1 if any(different) or missed else 0


def _strategy(folder: Path, strategy: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Kills after given steps and at random moments, with and without loader workers, against the whole run."""
    task: dict[str, Any] = {"task": arguments.task}
    if arguments.views:
        task |= {"views": arguments.views, "task_options": KEPT_OPTIONS.get(arguments.task, {})}
    code = folder / "code"
    if arguments.compiled:
        # Its own, since code that other runs left could be for other sizes.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(code)
        task |= COMPILED
    whole, seconds = uninterrupted(folder, strategy, **task)
    assert not arguments.compiled or any(code.rglob("*.so")), "nothing was compiled"
    draw = random.Random(strategy)
    trials: list[dict[str, Any]] = [{"after_step": step} for step in _steps(arguments.steps)]
    trials += [{"after_seconds": draw.uniform(0.05, seconds * 1.02)} for _ in range(arguments.moments)]
    if arguments.workers:
        trials += [{"after_step": step, "workers": arguments.workers} for step in (5, 22, 38)]

    def differs(trial: dict[str, Any]) -> bool:
        return killed_then_resumed(folder, strategy, **task, **trial) != whole

    different = _in_parallel(folder, trials, differs, arguments.jobs)
    return {"trials": len(trials), "identical": len(trials) - len(different), "different": different}


# Rows that are mixed with one another cannot be kept.
KEPT_OPTIONS: dict[str, dict[str, Any]] = {"detection": {"size": 64}, "segmentation": {"size": 64}}

# Step 19 is mid-epoch in the second phase, with a checkpoint after step 18.
USUAL: dict[str, Any] = {"strategy": "lp-ft", "after_step": 19}
# A probe at this rate moves weights and no prediction: no epoch beats the first, and who forgets it keeps a later one.
STILL: dict[str, Any] = {"strategy": "linear-probe", "after_step": 38, "lr": 1e-6}
CONDITIONS: dict[str, dict[str, Any]] = {"best_forgotten": STILL}


def _bugs(folder: Path, names: list[str]) -> dict[str, bool]:
    """Whether each planted bug changes something that the tests compare."""
    caught = {}
    wholes: dict[str, Outcome] = {}
    for name in names:
        conditions = CONDITIONS.get(name, USUAL)
        settings = {key: value for key, value in conditions.items() if key != "after_step"}
        place = folder / f"bugs-{settings['strategy']}"
        if place.name not in wholes:
            place.mkdir()
            wholes[place.name], _ = uninterrupted(place, **settings)
        try:
            caught[name] = killed_then_resumed(place, mutate=PLANTED[name], **conditions) != wholes[place.name]
        except AssertionError:
            caught[name] = True
    return caught


def _in_parallel(folder: Path, trials: list[dict[str, Any]], differs: Any, jobs: int) -> list[dict[str, Any]]:
    """Deal the trials out to forked processes; those that differed (or failed) come back with the reason."""
    workers = []
    for job in range(jobs):
        answer = folder / f"answer-{job}.json"
        process = os.fork()
        if process == 0:
            bad = []
            for trial in trials[job::jobs]:
                try:
                    if differs(trial):
                        bad.append({**trial, "why": "another result"})
                except AssertionError as error:
                    bad.append({**trial, "why": str(error)})
            answer.write_text(json.dumps(bad))
            os._exit(0)
        workers.append((process, answer))
    found: list[dict[str, Any]] = []
    for process, answer in workers:
        assert wait(process) == 0
        found += json.loads(answer.read_text())
    return found


def _steps(text: str) -> list[int]:
    if text == "all":
        return list(range(1, STEPS + 1))
    return [int(step) for step in text.split(",") if step]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategies", default="full,gradual,lp-ft")
    parser.add_argument("--task", default="image-classification", choices=list(BASES))
    parser.add_argument("--steps", default="all", help="comma-separated, or all")
    parser.add_argument("--moments", type=int, default=20, help="kills at random moments, a strategy")
    parser.add_argument("--workers", type=int, default=2, help="loader workers of three more trials; 0 for none")
    parser.add_argument("--bugs", default=",".join(PLANTED), help="planted bugs that must be caught")
    parser.add_argument(
        "--views", type=int, help="fixed views, so that states are kept, each run in a cache of its own"
    )
    parser.add_argument("--compiled", action="store_true", help="a tiny encoder of texts, compiled, 8 steps")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
