"""The benchmark of loading pictures runs to its end at its tiniest size."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "decoders.py"


def test_decoders_augmentation_and_kept_pixels_are_compared(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--tiny", "--out", str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "decoders.json").read_text(encoding="utf-8"))
    assert {"Pillow", "graftwork"} <= {row["arm"] for row in found["rows"]}
    assert all(row["differ"] == 0 for row in found["rows"])
    assert all(row["ms a picture"] >= 0 for row in found["augmented"]) and len(found["epochs"]) == 4
    assert "## Augmenting" in done.stdout
