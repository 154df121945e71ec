"""The commands of docs/write-a-plugin.md, as they stand there, in an empty folder and an environment of their own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "write-a-plugin.md"

pytestmark = [
    pytest.mark.skipif(not PAGE.is_file(), reason="an installation without the repository"),
    pytest.mark.skipif(
        importlib.util.find_spec("hatchling") is None, reason="pip install hatchling: packages are built with it"
    ),
]

STEP = "@@ step "


def commands() -> list[str]:
    """Every line of the page's shell blocks, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line]


@dataclass(frozen=True)
class Journey:
    """What the page's commands left behind.

    Args:
        folder: in which they ran.
        said: by command, what it printed.
    """

    folder: Path
    said: dict[str, str]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment into which plugins are installed, over the packages of the one that runs the tests; no network."""
    home = tmp_path_factory.mktemp("environment")
    venv.create(home, with_pip=False)
    python = home / "bin" / "python"
    site = sysconfig.get_paths(vars={"base": str(home), "platbase": str(home)})["purelib"]
    parents = [path for path in sys.path if path.endswith("-packages")]
    # addsitedir: the parent's own .pth files (an editable graftwork) count too.
    lines = [f"import site; site.addsitedir({path!r})" for path in parents]
    (Path(site) / "parent.pth").write_text("\n".join(lines) + "\n")
    wanted = {"graft", "pytest", "hatchling", "pip"}
    for point in importlib.metadata.entry_points(group="console_scripts"):
        if point.name in wanted:
            script = home / "bin" / point.name
            script.write_text(
                f"#!{python}\nimport sys\nfrom {point.module} import {point.attr}\nsys.exit({point.attr}())\n"
            )
            script.chmod(0o755)
    offline = {
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it the other way round: this switches isolation off
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "GRAFTWORK_OFFLINE": "1",
    }
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, **offline, "PATH": path, "VIRTUAL_ENV": str(home)}


@pytest.fixture(scope="module")
def journey(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """Every command of the page in one shell, which stops at the first that fails."""
    folder = tmp_path_factory.mktemp("empty")
    lines = ["set -e"]
    for number, command in enumerate(commands()):
        lines += [f"echo '{STEP}{number}'", command]
    done = subprocess.run(
        ["bash"], input="\n".join(lines), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        cwd=folder, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    parts = done.stdout.split(STEP)[1:]
    return Journey(folder, dict(zip(commands(), parts, strict=True)))


def test_the_page_goes_from_an_empty_folder_to_a_trained_plugin_in_five_commands() -> None:
    first = [command.split()[:3] for command in commands()[:5]]
    assert first == [
        ["graft", "plugin", "new"],
        ["cd", "graftwork-my-net"],
        ["pip", "install", "-e"],
        ["graft", "plugin", "check"],
        ["graft", "train", "--task"],
    ]


def test_every_command_of_the_page_works(journey: Journey) -> None:
    checked = journey.said["graft plugin check"]
    assert re.search(r"graftwork-my-net: (\d+) of \1 checks hold", checked)
    assert " passed" in journey.said["pytest"] and "failed" not in journey.said["pytest"]


def test_the_new_backbone_was_trained_with(journey: Journey) -> None:
    (summary,) = (journey.folder / "graftwork-my-net" / "runs").glob("*/summary.json")
    assert '"backbone": "my-net"' in summary.read_text()


def test_what_would_be_published_holds_the_code_and_the_registry_and_nothing_else(journey: Journey) -> None:
    dist = journey.folder / "graftwork-my-net" / "dist"
    (wheel,) = dist.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == {f"graftwork_my_net/{name}" for name in ("__init__.py", "backbone.py", "registry.yaml")}
    assert len(list(dist.glob("*.tar.gz"))) == 1
