"""Words for people: tables, the plan, numbers, and text from data that must not steer a terminal."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftwork.cli.progress import ProgressObserver
from graftwork.console import (
    amount,
    clean,
    duration,
    format_plan,
    number,
    one_line,
    out_json,
    out_table,
    plain_table,
    say,
)
from graftwork.interfaces.observer import EpochRecord, FitRecord, StepRecord

PLAN = {
    "strategy": "lp-ft",
    "epochs": 5,
    "phases": [
        {
            "name": "probe", "epochs": 2, "frozen_stages": 4, "stages": 4, "lr": 0.003, "schedule": "cosine",
            "warmup": 0.1, "terms": [], "reason": "a probed head keeps the features",
            "groups": [{"name": "head", "lr": 0.003, "weight_decay": 0.0, "parameters": 1500, "tensors": 2}],
        },
        {
            "name": "full", "epochs": 3, "frozen_stages": 0, "stages": 4, "lr": 0.0003, "schedule": "constant",
            "warmup": 0.0, "terms": [{"name": "L2SP", "alpha": 0.01}], "reason": "",
            "groups": [
                {"name": "stage0", "lr": 3e-05, "weight_decay": 0.0, "parameters": 11_000_000, "tensors": 2},
                {"name": "head", "lr": 0.0003, "weight_decay": 0.0, "parameters": 1500, "tensors": 2},
            ],
        },
    ],
}  # fmt: skip


TITLES = ["phase", "epochs", "frozen stages", "lr", "schedule", "trained"]


def test_the_plan_says_what_trains_when_how_fast_and_why() -> None:
    lines = format_plan(PLAN).splitlines()
    assert lines[0] == "plan: lp-ft, 5 epochs"
    assert [title.strip() for title in lines[1].split("  ") if title.strip()] == TITLES
    for cell in ("1  probe", "  2  ", "4 of 4", "0.003", "cosine, warm-up 10%", "1.5k"):
        assert cell in lines[2]
    assert "none" in lines[3] and "3e-05 to 0.0003" in lines[3] and "11.0M" in lines[3]
    assert lines[4:] == ["  1: a probed head keeps the features", "  2: term L2SP (alpha 0.01)"]


def test_the_plan_is_found_inside_a_wrapper_and_an_empty_one_does_no_harm() -> None:
    assert format_plan({"plan": PLAN}) == format_plan(PLAN)
    assert format_plan({"strategy": "full", "epochs": 1, "phases": []}).startswith("plan: full, 1 epoch\n")


@pytest.mark.parametrize("text", ["\x1b[31mred", "a\rb", "tab\t", "\u202ereversed", "\x9b2J", "\udcff", "bell\a"])
def test_control_characters_are_shown_instead_of_obeyed(text: str) -> None:
    assert clean(text).isprintable()
    assert clean(text) != text


@given(st.text())
def test_an_error_is_always_one_printable_line(text: str) -> None:
    assert one_line(text).isprintable()


def test_text_that_is_harmless_stays_as_it_is() -> None:
    assert clean("Äpfel 🍎 日本語") == "Äpfel 🍎 日本語"
    assert clean("a\nb", keep="\n") == "a\nb"


def test_numbers_are_short_and_honest() -> None:
    assert [number(value) for value in (None, 1234567, 0.97345, 3e-5, True, "x", math.nan, 0.0)] == [
        "-", "1,234,567", "0.9735", "3e-05", "True", "x", "nan", "0",
    ]  # fmt: skip
    assert [amount(value) for value in (0, 999, 1000, 11_176_512, 7_000_000_000)] == [
        "0",
        "999",
        "1.0k",
        "11.2M",
        "7.0B",
    ]
    assert [duration(value) for value in (0, 4.25, 59.9, 60, 200, 3600, 7500)] == [
        "0.0 s", "4.2 s", "59.9 s", "1 min 0 s", "3 min 20 s", "1 h 0 min", "2 h 5 min",
    ]  # fmt: skip


def test_json_output_is_json_whatever_is_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    import numpy

    value = {
        "nan": math.nan,
        "inf": [math.inf],
        3: Path("a/b"),
        "set": {"b", "a"},
        "tuple": (1, None),
        "é": numpy.float32(0.5),
    }
    out_json(value)
    text = capsys.readouterr().out
    assert json.loads(text, parse_constant=pytest.fail) == {
        "nan": None, "inf": [None], "3": "a/b", "set": ["a", "b"], "tuple": [1, None], "é": 0.5,
    }  # fmt: skip


def test_messages_go_to_stderr_and_only_there(capsys: pytest.CaptureFixture[str]) -> None:
    say("hello\x1b[2J")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "hello\\x1b[2J\n")


def test_columns_are_aligned_and_lines_have_no_tail() -> None:
    assert plain_table(["name", "n", "what"], [["a", "100", ""], ["longer", "2", "x"]]) == [
        "name    n    what", "a       100", "longer  2    x",
    ]  # fmt: skip


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_table_on_a_terminal_keeps_markup_and_control_characters_as_text() -> None:
    stream = Terminal()
    out_table(["name", "[bold]what"], [["[red]x[/red]", "a\x1b]0;title\x07b"]], stream)
    assert "[red]x[/red]" in stream.getvalue()
    assert "\x1b]0" not in stream.getvalue()


class Clock:
    """Seconds that pass only when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def _fit(**changes: Any) -> FitRecord:
    facts: dict[str, Any] = {"steps": 100, "epochs": 2, "batch_size": 8, "device": "cpu", "precision": "fp32"}
    return FitRecord(**{**facts, "primary_metric": "accuracy", **changes})


def _run(stream: io.StringIO, seconds_a_step: float) -> list[int]:
    """Two epochs of 50 steps with an evaluation of 30 s after each; the steps at which the loss was read."""
    clock, read = Clock(), []
    progress = ProgressObserver(stream, clock)
    progress.fit_start(_fit())
    for step in range(1, 101):
        clock.now += seconds_a_step
        epoch = (step - 1) // 50 + 1

        def loss(step: int = step) -> float:
            read.append(step)
            return 1 / step

        progress.step_end(StepRecord(step, 0, epoch, range(8), loss, 1e-3))
        if step % 50 == 0:
            progress.evaluation_start(1000)
            clock.now += 30
            metrics = {"ece": 0.1, "accuracy": 0.5 * epoch}
            progress.epoch_end(EpochRecord(epoch, "full", 0.25, metrics, 50 * seconds_a_step + 30, 8 / seconds_a_step))
    progress.fit_end("finished")
    return read


def test_plain_progress_is_a_line_an_epoch_and_one_every_five_seconds(said: list[str]) -> None:
    stream = io.StringIO()
    read = _run(stream, seconds_a_step=1.0)
    lines = said
    assert lines[0] == "training 2 epochs, 100 steps, cpu, fp32"
    assert len([line for line in lines if "step" in line]) == len(read) + 1 == 21  # and the line about the start
    assert "epoch 1/2 (full): loss 0.25, val accuracy 0.5, ece 0.1, 8 rows/s, 1 min 20 s" in lines
    assert all("8 rows/s" in line for line in lines[1:])
    assert stream.getvalue() == "" and not any("\x1b" in line for line in lines)


def test_fast_steps_do_not_read_the_loss_each_time() -> None:
    assert _run(io.StringIO(), seconds_a_step=0.001) == []
    assert len(_run(Terminal(), seconds_a_step=0.1)) <= 20


def test_a_terminal_gets_a_bar_with_loss_metric_speed_and_time_left() -> None:
    stream = Terminal()
    _run(stream, seconds_a_step=1.0)
    text = stream.getvalue()
    for word in ("loss 0.", "accuracy 0.5", "8 rows/s", "left", "epoch 2", "evaluating 1,000 rows"):
        assert word in text
    assert text.rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in text, "the cursor comes back"


def test_an_early_end_says_why_and_closing_twice_is_fine(said: list[str]) -> None:
    stream = io.StringIO()
    progress = ProgressObserver(stream, Clock())
    progress.fit_start(_fit(done_steps=7))
    progress.fit_end("budget")
    progress.close()
    progress.failure("again")
    assert said == [
        "training 2 epochs, 100 steps, 7 done, cpu, fp32", "training ended: budget",
    ]  # fmt: skip


def test_the_console_is_light() -> None:
    code = "import sys, graftwork.console, graftwork.cli; print({'torch', 'rich', 'yaml'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
