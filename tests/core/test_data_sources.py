"""Parsing sources, missing paths, and the hub without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from graftwork.data.sources import Source, existing_path, forbid_downloads, parse_source, unknown_scheme
from graftwork.errors import DataError, UsageError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("photos/cats", Source("path", "photos/cats")),
        ("sample:digits", Source("sample", "digits")),
        ("hf:owner/name", Source("hf", "owner/name")),
        ("hf:owner/name:config", Source("hf", "owner/name", "config")),
        ("HF:name", Source("hf", "name")),
        ("torchvision:CIFAR10:/data", Source("torchvision", "CIFAR10", "/data")),
        ("torchvision:CIFAR10:D:\\data", Source("torchvision", "CIFAR10", "D:\\data")),
        ("C:\\photos", Source("path", "C:\\photos")),
        ("c:photos", Source("path", "c:photos")),
        ("sample:", Source("path", "sample:")),
    ],
)
def test_a_source_is_a_path_or_a_scheme_with_a_name(text: str, expected: Source) -> None:
    assert parse_source(text) == expected


def test_an_existing_path_wins_over_a_scheme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sample:digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert parse_source("sample:digits").scheme == "path"


def test_an_empty_source_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        parse_source("  ")


def test_a_missing_path_names_the_nearest_parent_and_what_is_similar_there(tmp_path: Path) -> None:
    (tmp_path / "Photos").mkdir()
    with pytest.raises(DataError) as caught:
        existing_path(tmp_path / "photo" / "train")
    assert str(tmp_path) in str(caught.value)
    assert f"Did you mean {tmp_path / 'Photos'}?" in str(caught.value)


def test_hidden_files_are_not_offered(tmp_path: Path) -> None:
    for name in ("._good.png", ".good.png", "good.png.jpg", ".DS_Store"):
        (tmp_path / name).touch()
    for wrong, offered in (("good.png", "good.png.jpg"), ("DS_Store", None), (".good.pn", ".good.png")):
        with pytest.raises(DataError) as caught:
            existing_path(tmp_path / wrong)
        hint = str(caught.value.hint or "")
        assert (str(tmp_path / offered) in hint) if offered else not hint
        assert wrong.startswith(".") or "/." not in hint


def test_a_missing_path_without_anything_similar_gives_no_suggestion(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist") as caught:
        existing_path(tmp_path / "zzz")
    assert caught.value.hint is None
    with pytest.raises(DataError):
        existing_path("x" * 5000)


def test_an_unknown_scheme_gets_a_suggestion() -> None:
    assert "Did you mean sample?" in str(unknown_scheme(parse_source("simple:digits"), ["sample", "hf"]))


def test_the_hub_out_of_reach_is_one_clear_line(tmp_path: Path) -> None:
    code = (
        "from graftwork.data.sources import open_hf\nfrom graftwork.errors import DataError\n"
        "try:\n    open_hf('no-such-owner/no-such-name')\nexcept DataError as error:\n    print(error)\n"
    )
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.startswith("hf:no-such-owner/no-such-name: ")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    "variable", ["GRAFTWORK_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"]
)
def test_every_variable_that_forbids_the_network_binds_the_libraries_of_the_hub(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setattr(datasets.config, name, False)
    for name in ("GRAFTWORK_OFFLINE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    assert forbid_downloads() is None and not huggingface_hub.is_offline_mode()
    monkeypatch.setenv(variable, "1")
    assert forbid_downloads() == variable and huggingface_hub.is_offline_mode() and datasets.config.HF_HUB_OFFLINE
