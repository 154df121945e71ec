"""The installed command where it must be light: help, lists, errors, exit codes. Nothing here may import torch."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from graftwork.cli import main
from graftwork.cli.options import columns_of
from graftwork.cli.predict import expand, line
from graftwork.cli.train import resume_command, show_summary
from graftwork.config import Layer, RunConfig, override_layer
from graftwork.console import say
from graftwork.errors import DataError, UsageError
from graftwork.runs.resuming import contradictions

GRAFT = Path(sys.executable).with_name("graft")


def graft(
    *words: str, path: Path | None = None, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess:
    """The installed command, with a folder of further plugins on its path."""
    variables = {**os.environ, **environment}
    if path is not None:
        variables["PYTHONPATH"] = str(path)
    return subprocess.run([GRAFT, *words], capture_output=True, text=True, env=variables, cwd=cwd, timeout=120)


def one_error(done: subprocess.CompletedProcess, code: int) -> str:
    """The one line on stderr of a command that failed as it should."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("graft: error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def plugin(tmp_path: Path) -> Any:
    """Writes a plugin that is installed where PYTHONPATH says; returns that folder."""

    def write(name: str, registry: str, code: str = "") -> Path:
        package = name.replace("-", "_")
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(code)
        (tmp_path / package / "registry.yaml").write_text(registry)
        info = tmp_path / f"{package}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[graftwork]\n{name} = {package}\n")
        return tmp_path

    return write


LIGHT = [
    ([], 0),
    (["--help"], 0),
    (["--version"], 0),
    (["train", "--help"], 0),
    (["doctor", "--help"], 0),
    (["list"], 0),
    (["list", "backbones", "--json"], 0),
    (["list", "plugins"], 0),
    (["list", "nothing"], 2),
    (["trian"], 2),
    (["doctor", "--jsn"], 2),
    (["train", "--task", "nothing", "--data", "x"], 2),
    (["train", "--set", "stratgy=1"], 2),
    (["inspect", "--task", "nothing", "--data", "x"], 2),
    (["evaluate", "nowhere", "--data", "x"], 2),
    (["predict", "nowhere", "x"], 2),
    (["report", "nowhere"], 2),
    (["explain", "nowhere"], 2),
    (["bench"], 0),
    (["bench", "--help"], 0),
    (["bench", "suite"], 2),
    (["bench", "smoke", "--only", "task=nothing"], 2),
    (["cache"], 0),
    (["cache", "list"], 0),
    (["cache", "clear", "--dry-run"], 0),
    (["cache", "clera"], 2),
    (["plugin"], 0),
    (["plugin", "new", "Not-A-Name", "--kind", "backbone"], 2),
    (["plugin", "check", "nowhere"], 2),
]


def test_no_light_command_imports_torch_or_a_plugin() -> None:
    script = (
        "import sys\nfrom graftwork.cli import main\n"
        f"for words, code in {LIGHT!r}:\n"
        "    assert main(words) == code, words\n"
        "    heavy = {'torch', 'numpy', 'datasets', 'graftwork_images', 'rich', 'graftwork.interfaces'} & set(sys.modules)\n"
        "    assert not heavy, (words, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-600:]


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "graftwork", "--version"], capture_output=True, text=True)
    assert done.stdout == graft("--version").stdout
    assert done.stdout.startswith("graftwork ")


def test_every_command_has_help_that_says_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-h"]) == 0
    text = capsys.readouterr().out
    for name in (
        "quickstart", "list", "inspect", "train", "evaluate", "predict", "report", "explain", "doctor", "cache", "plugin",
    ):  # fmt: skip
        assert f"  {name} " in text
        assert main([name, "-h"]) == 0
        assert len(capsys.readouterr().out.splitlines()) > 3


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["trian"], "'train'"),
        (["lst"], "'list'"),
        (["train", "--stratgy", "full"], "Did you mean --strategy"),
        (["--jsno"], "no option --jsno"),
        (["train", "--epochs", "many"], "--epochs"),
        (["train", "--epochs"], "requires an argument"),
        (["train", "extra"], "unexpected extra argument"),
        (["predict"], "Missing argument"),
        (["predict", "run"], "INPUT"),
        (["inspect", "--data", "x"], "--task"),
        (["quickstart", "--seeds", "0"], "--seeds"),
        (["list", "backbone"], "Did you mean backbones"),
        (["list", "backbones", "--task", "image-clasification"], "unknown task"),
        (["train", "--column", "label", "--data", "x"], "--column label=stars"),
        (["train", "--column", "label=a", "--column", "label=b"], "twice"),
        (["train", "--set", "lr"], "has no '='"),
        (["train", "--set", "head_options=3"], "head_options.KEY=value"),
        (["train"], "--task is missing"),
        (["train", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["train", "--resume"], "--out"),
        (["train", "--resume", "--out", "nowhere"], "holds no run"),
        (["inspect", "--task", "t", "--data", "d", "--set", "lr=1"], "no setting 'lr'"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_and_exit_code_2(words: list[str], what: str, tmp_path: Path) -> None:
    assert what in one_error(graft(*words, cwd=tmp_path), 2)


@pytest.mark.parametrize("name", ["rank", "depth", "export"])
def test_reserved_names_say_that_they_come_later(name: str) -> None:
    assert f"graft {name} comes with a later release" in one_error(graft(name, "x", "--task", "y", "-h"), 2)


def test_a_wrong_key_in_a_file_is_named_with_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("task: image-classification\n\nepoch: 3\n")
    text = one_error(graft("train", "--config", "c.yaml", cwd=tmp_path), 2)
    assert "c.yaml:3: unknown setting 'epoch'. Did you mean epochs?" in text


def test_an_error_with_line_breaks_and_control_characters_stays_one_line(tmp_path: Path) -> None:
    text = one_error(graft("train", "--task", "a\nb\x1b[31m", "--data", "x"), 2)
    assert "\x1b" not in text


def test_a_file_name_that_is_no_text_ends_in_one_line() -> None:
    done = subprocess.run([GRAFT, "explain", b"run\xff"], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)


@pytest.mark.parametrize("kind", ["tasks", "backbones", "heads", "strategies", "datasets", "observers", "suites"])
def test_each_kind_is_listed_as_a_table_and_as_one_json_document(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind, "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert main(["list", kind]) == 0
    table = capsys.readouterr().out
    if entries:
        names = [row.split()[0] for row in table.splitlines()[1:]]
        assert [name.removeprefix("sample:").partition(":")[0] for name in names] == [
            entry["name"] for entry in entries
        ]
        assert all(entry["plugin"] and entry["summary"] for entry in entries)
    else:
        assert table == ""


def test_the_overview_counts_every_kind() -> None:
    found = json.loads(graft("list", "--json").stdout)
    assert found["counts"]["strategies"] == len(json.loads(graft("list", "strategies", "--json").stdout))
    assert {plugin["name"] for plugin in found["plugins"]} >= {"graftwork-strategies", "graftwork-images"}
    assert "graft list strategies" in graft("list").stdout


def test_a_broken_plugin_is_listed_with_its_cause_and_the_rest_works(plugin: Any) -> None:
    path = plugin("graft-broken", "version: 1\ntasks: [", "raise RuntimeError")
    done = graft("list", "plugins", path=path)
    assert done.returncode == 0
    row = next(row for row in done.stdout.splitlines() if row.startswith("graft-broken"))
    assert "registry.yaml" in row and "not valid YAML" in row
    done = graft("list", "strategies", path=path)
    assert "lp-ft" in done.stdout
    assert "plugin graft-broken could not be read" in done.stderr


def test_doctor_names_a_plugin_that_cannot_be_loaded(plugin: Any) -> None:
    path = plugin("graft-ill", "version: 1\n", "import a_library_that_is_not_there")
    done = graft("doctor", "--json", path=path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert "a_library_that_is_not_there" in found["plugins"]["graft-ill"]["state"]
    assert found["plugins"]["graftwork-strategies"]["state"] == "ok"
    assert found["torch"]["devices"][0]["precision"] in ("fp32", "bf16")
    assert found["cpu"]["usable_cores"] >= 1


def test_doctor_answers_when_torch_is_broken(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libtorch_cpu.so: cannot open shared object file')")
    done = graft("doctor", path=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "BROKEN: ImportError: libtorch_cpu.so" in done.stdout
    assert "something is broken" in done.stdout


def test_a_plugins_failure_is_exit_code_4(plugin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from graftwork.cli import _fail
    from graftwork.errors import PluginError

    assert _fail(PluginError("plugin 'x' failed"), debug=False) == 4
    try:
        try:
            raise PluginError("plugin 'x' failed")
        except PluginError as error:
            raise RuntimeError("wrapped") from error
    except RuntimeError as error:
        assert _fail(error, debug=False) == 4


def test_a_reader_that_stops_early_is_no_error() -> None:
    done = subprocess.run(
        f"set -o pipefail; {GRAFT} train --help | head -n 1",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    script = (
        "import subprocess, sys\n"
        "command = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)\n"
        "command.stdout.close()\n"
        "sys.exit(command.wait())"
    )
    done = subprocess.run([sys.executable, "-c", script, GRAFT, "list", "strategies"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_stdout_is_no_error() -> None:
    done = subprocess.run(f"{GRAFT} list tasks >&-", shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_message_that_nobody_reads_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        say("epoch 1")
        monkeypatch.undo()
        with contextlib.suppress(BrokenPipeError):
            stream.close()


def _broken(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Makes reading the catalogue fail, as a bug or a key press would."""

    def fail() -> None:
        raise error

    monkeypatch.setattr("graftwork.catalogue.load_catalogue", fail)


def test_an_unexpected_failure_is_one_line_and_debug_shows_where(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GRAFTWORK_DEBUG", raising=False)
    _broken(monkeypatch, KeyError("a\nb"))
    assert main(["list"]) == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and "unexpected KeyError" in text and "--debug" in text
    for words in (["--debug", "list"], ["list", "--debug"], ["list", "tasks", "--debug"]):
        assert main(words) == 1
        assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("GRAFTWORK_DEBUG", "1")
    assert main(["list"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_debug_after_two_dashes_is_an_argument_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--", "--debug"]) == 2
    assert "'--debug'" in capsys.readouterr().err


def test_an_interrupt_is_130_and_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from graftwork.cli import Interrupted

    _broken(monkeypatch, KeyboardInterrupt())
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "graft: interrupted\n"
    _broken(monkeypatch, Interrupted("graft train --out x --resume"))
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "graft: interrupted; go on with: graft train --out x --resume\n"


def test_the_resume_command_is_given_only_for_a_run_and_can_be_pasted(tmp_path: Path) -> None:
    run = tmp_path / "my run; rm -rf"
    assert resume_command(run) is None
    run.mkdir()
    (run / "config.yaml").write_text("")
    assert resume_command(run) == f"graft train --out '{run}' --resume"


def test_flags_of_train_are_settings_and_their_choices_are_the_configurations() -> None:
    text = graft("train", "-h").stdout
    for name in ("optimizer", "schedule", "imbalance", "precision"):
        choices = "|".join(get_args(RunConfig.model_fields[name].annotation))
        assert f"--{name} {choices}" in text
    for name in ("task", "data", "lr", "weight-decay", "grad-clip", "ema", "patience", "workers", "micro-batch"):
        assert f"--{name} " in text


def test_columns_are_read_from_pairs() -> None:
    assert columns_of(None) == {}
    assert columns_of(["label=stars", "image=a=b"]) == {"label": "stars", "image": "a=b"}
    for pair in ("label", "=x", "label=", ""):
        with pytest.raises(UsageError, match="--column"):
            columns_of([pair])


STORED = Layer(
    {
        "task": "t",
        "data": "d",
        "lr": 0.01,
        "budget": 600.0,
        "backbone": "b",
        "head_options": {"x": 1, "y": 2},
        "workers": 0,
    },
    {},
)


@pytest.mark.parametrize(
    ("flags", "assignments", "named"),
    [
        ({}, [], []),
        ({"lr": 0.01, "task": "t", "data": "./d"}, [], []),
        ({"budget": "10m", "backbone": "auto", "workers": "auto"}, ["head_options.x=1"], []),
        ({"lr": 0.1}, [], ["lr"]),
        ({"budget": "11m", "task": "u"}, [], ["budget", "task"]),
        ({"seed": 1}, [], ["seed"]),
        ({"seed": 0}, [], []),
        ({"data": "e"}, ["head_options.x=2"], ["data", "head_options"]),
        ({}, ["head_options.z=1"], ["head_options"]),
        ({"columns": {"label": "stars"}}, [], ["columns"]),
    ],
)
def test_resume_names_every_given_setting_that_the_run_does_not_have(
    flags: dict, assignments: list, named: list
) -> None:
    found = contradictions([override_layer(flags, assignments)], STORED)
    assert sorted(words.split(" ")[0] for words in found) == sorted(named)


def test_a_flag_that_repeats_the_run_beats_a_file_that_does_not() -> None:
    file = Layer({"lr": 0.5, "epochs": 99}, {"lr": "c.yaml:1", "epochs": "c.yaml:2"})
    assert contradictions([override_layer({"lr": 0.01}), file], STORED) == ["epochs is 99 (c.yaml:2), was 10"]


def test_resume_refuses_other_settings_before_anything_heavy(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("task: image-classification\ndata: photos\nlr: 0.001\n")
    text = one_error(graft("train", "--resume", "--out", str(tmp_path), "--lr", "0.1", "--epochs", "3"), 2)
    assert "lr is 0.1 (--lr), was 0.001" in text
    assert "epochs is 3 (--epochs), was 10" in text


def test_inputs_may_come_as_lines_on_stdin() -> None:
    lines = [b"\xef\xbb\xbffirst\n", b"\n", b"  \n", b"se cond\r\n", b"third"]
    refused: list[DataError] = []
    words, texts = expand(["a.jpg", "-", "b"], lambda: lines, refused.append)
    assert words == ["a.jpg", "first", "se cond", "third", "b"] and texts == [1, 2, 3]
    assert expand(["-", "-"], lambda: lines, refused.append) == (["first", "se cond", "third"], [0, 1, 2])
    assert expand(["-"], list, refused.append) == ([], []) and not refused


def test_lines_on_stdin_that_are_not_utf8_are_named_by_number() -> None:
    refused: list[str] = []
    lines = ["sch\xf6n\n".encode(), "sch\xf6n\n".encode("cp1252"), b"\xff\xfea\0\n", b"good\n"]
    words, texts = expand(["-"], lambda: lines, lambda error: refused.append(str(error)))
    assert words == ["sch\xf6n", "good"] and texts == [0, 1]
    assert [one.split(". ")[0] for one in refused] == [
        "line 2 of standard input: byte 4 (0xf6) is not UTF-8",
        "line 3 of standard input: byte 1 (0xff) is not UTF-8",
    ]


def test_a_prediction_is_one_tab_separated_line_whatever_its_label() -> None:
    prediction = {
        "input": "a b.jpg",
        "label": "x\ty\nz",
        "confidence": 0.98765,
        "probabilities": {"x": 1.0},
        "count": 3,
    }
    assert line(prediction) == "a b.jpg\tx y z\t0.9877\tcount=3"
    assert line({"input": "a"}) == "a"


def test_the_summary_leads_with_the_primary_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "report.html").write_text("")
    summary = {
        "primary_metric": "macro_f1", "val": {"accuracy": 0.75, "macro_f1": 0.5}, "test": {"macro_f1": 0.25},
        "best_epoch": 3, "seconds": 75.0,
    }  # fmt: skip
    show_summary(summary, tmp_path)
    rows = [row.split() for row in capsys.readouterr().out.splitlines()]
    assert rows[:3] == [["metric", "val", "test"], ["macro_f1", "0.5", "0.25"], ["accuracy", "0.75", "-"]]
    assert ["best", "epoch", "3"] in rows and ["time", "1", "min", "15", "s"] in rows
    assert ["report", str(tmp_path / "report.html")] in rows and "model" not in {row[0] for row in rows if row}


PLAN: dict[str, Any] = {
    "strategy": "partial:1",
    "epochs": 2,
    "phases": [
        {"name": "only", "epochs": 2, "frozen_stages": 3, "stages": 4, "lr": 0.1, "groups": [], "reason": "few rows"},
        {"name": "probe", "epochs": 1, "frozen_stages": 4, "stages": 4, "lr": 0.1, "groups": [], "reason": ""},
        {"name": "all", "epochs": 1, "frozen_stages": 0, "stages": 4, "lr": 0.1, "groups": [], "reason": ""},
    ],
    "settings": [
        {"name": "lr", "value": 0.1, "origin": "--lr", "reason": ""},
        {"name": "precision", "value": "bf16", "origin": "automatic", "reason": "this CPU has AMX"},
        {"name": "head_options", "value": {"x": 1}, "origin": "default", "reason": ""},
    ],
    "weights": {"source": "imagenet1k-v1", "fitted": 60, "missing": ["a", "b", "c", "d", "e", "f"], "reshaped": []},
}


def test_explain_says_every_setting_where_it_came_from_and_why(tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(json.dumps(PLAN))
    done = graft("explain", str(tmp_path))
    assert done.returncode == 0, done.stderr
    rows = [row.split() for row in done.stdout.splitlines()]
    assert rows[1] == ["lr", "0.1", "--lr"]
    assert rows[2] == ["precision", "bf16", "automatic", "this", "CPU", "has", "AMX"]
    assert rows[3] == ["head_options", "x=1", "default"]
    for words in (
        "Phase 1, only, 2 epochs: the head and the last 1 of 4 stages train, the others stay as they were (few rows).",
        "Phase 2, probe, 1 epoch: only the head trains, all 4 stages of the backbone stay as they were.",
        "Phase 3, all, 1 epoch: everything trains.",
        "  missing: 6 (a, b, c, d, e, …)",
        "  reshaped: 0",
        "  fitted: 60",
    ):
        assert words in done.stdout
    assert json.loads(graft("explain", str(tmp_path), "--json").stdout) == PLAN


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"phases": 3}', '{"settings": [1]}', '{"settings": [{}]}', "\x00",
             '{"phases": [{}]}', '{"phases": [{"name": [], "epochs": {}, "lr": "x", "groups": 4}]}', '{"weights": 4}']
)  # fmt: skip
def test_a_hostile_plan_ends_in_one_line(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.json").write_text(text)
    assert main(["explain", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(tmp_path / "plan.json") in error


def test_a_termination_signal_ends_like_ctrl_c_and_only_while_training() -> None:
    from graftwork.cli.train import terminate_as_interrupt

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminate_as_interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_several_processes_need_to_be_told_the_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from graftwork.cli.train import _new_directory

    monkeypatch.chdir(tmp_path)
    first = _new_directory("toy")
    assert re.fullmatch(r"runs/toy-\d{8}-\d{6}", str(first))
    monkeypatch.setattr("time.strftime", lambda form: "now")
    Path("runs/toy-now").mkdir(parents=True)
    assert str(_new_directory("toy")) == "runs/toy-now-2"
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="--out is missing"):
        _new_directory("toy")
