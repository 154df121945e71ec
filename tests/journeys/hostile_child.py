"""Runs `graft predict` on many folders in one process and says what each did: exit code, output, modules, seconds, memory."""

from __future__ import annotations

import contextlib
import io
import json
import resource
import sys
import time


def main() -> None:
    photo, good, *folders = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (24 << 30, 24 << 30))  # a bomb must end this process, not the machine
    from graftwork.cli import main as graft

    results = {}
    known: set[str] = set()
    for folder in (good, *folders):  # the first, harmless one imports whatever a prediction needs
        out, err = io.StringIO(), io.StringIO()
        started = time.monotonic()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = graft(["predict", folder, photo, "--device", "cpu"])
        results[folder] = {
            "code": code,
            "out": out.getvalue(),
            "err": err.getvalue(),
            "modules": sorted(set(sys.modules) - known),
            "seconds": time.monotonic() - started,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
        known = set(sys.modules)
    sys.stdout.write(json.dumps(results))


main()
