"""Whole plugins with one mistake in how they are packaged: a right one as text, and what is put in the place of a line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from installed_plugins import write_plugin

_REGISTRY = """\
version: 1
plugins:
  {plugin}: {{package: {package}, summary: a plugin of the zoo, licence: Apache-2.0, requires-graftwork: ">=0.2,<0.3"}}
strategies:
  {name}-all: {{plugin: {plugin}, factory: "{package}.code:build", summary: trains everything}}
"""

_INIT = """\
from graftwork import hookimpl


@hookimpl
def graftwork_strategies():
    from {package} import code

    return {{"{name}-all": code.build}}
"""

_CODE = """\
from graftwork.strategies.full import Full


def build(spec):
    return Full()
"""

_EXTRA = '  extra: {plugin: PLUGIN, factory: "PACKAGE.code:build", summary: another}\n'
_ROWS = (
    'datasets:\n  extra-rows: {plugin: PLUGIN, factory: "PACKAGE.code:build", summary: rows, task: no-such-task, rows: 1, '
    "licence: CC0-1.0, source: none}\n"
)
_SUITES = "suites:\n  extra-suite: {plugin: PLUGIN, summary: a suite, file: suites/extra-suite.yaml}\n"

CHANGES: Mapping[str, tuple[str, str, str]] = {
    "tame": ("code.py", "", ""),
    "imports-torch": ("__init__.py", "from graftwork", "import torch\nfrom graftwork"),
    "prints": ("__init__.py", "from graftwork", 'print("welcome")\nfrom graftwork'),
    "sets-environment": (
        "__init__.py",
        "from graftwork",
        'import os\nos.environ["OMP_DYNAMIC"] = "TRUE"\nfrom graftwork',
    ),
    "starts-a-thread": (
        "__init__.py",
        "from graftwork",
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\nfrom graftwork",
    ),
    "unlisted": ("__init__.py", "code.build}", 'code.build, "extra": code.build}'),
    "unbuilt": ("registry.yaml", "summary: trains everything}\n", "summary: trains everything}\n" + _EXTRA),
    "other-factory": ("registry.yaml", "code:build", "code:make"),
    "seeds-at-import": ("code.py", "\n\n\n", "\nimport torch\n\ntorch.manual_seed(0)\n\n\n"),
    "sets-dtype-at-import": ("code.py", "\n\n\n", "\nimport torch\n\ntorch.set_default_dtype(torch.float64)\n\n\n"),
    "any-version": ("registry.yaml", ', requires-graftwork: ">=0.2,<0.3"', ""),
    "without-licence": ("registry.yaml", ", licence: Apache-2.0", ""),
    "strange-task": ("registry.yaml", "summary: trains everything}\n", "summary: trains everything}\n" + _ROWS),
    "lost-suite": ("registry.yaml", "summary: trains everything}\n", "summary: trains everything}\n" + _SUITES),
    "returns-nothing": ("__init__.py", "return ", "found = "),
}
"""Name to file, what stands there, and what is put in its place."""


def plugin_of(name: str) -> str:
    """The plugin's whole name."""
    return f"graftwork-zoo-{name}"


def write_packages(folder: Path) -> None:
    """Write all of them as pip installs them."""
    for name, (file, old, new) in CHANGES.items():
        words = {"plugin": plugin_of(name), "package": plugin_of(name).replace("-", "_"), "name": name}
        files = {"registry.yaml": _REGISTRY, "__init__.py": _INIT, "code.py": _CODE}
        texts = {path: text.format(**words) for path, text in files.items()}
        assert old in texts[file], f"{name} changes nothing"
        new = new.replace("PLUGIN", words["plugin"]).replace("PACKAGE", words["package"])
        texts[file] = texts[file].replace(old, new, 1)
        home = write_plugin(folder, words["plugin"], texts["registry.yaml"], texts["__init__.py"])
        (home / "code.py").write_text(texts["code.py"], encoding="utf-8")
