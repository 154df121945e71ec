"""timm's weights by `timm:MODEL.TAG`: from the Hugging Face hub or what was downloaded from there before; safetensors only."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from graftwork import RunFailed, UsageError
from graftwork.catalogue import offline
from graftwork.interfaces import Pretrained
from graftwork_timm.models import config_of, understood

FILE = "model.safetensors"
_WAY_OUT = "Pass --weights FILE or --weights none"


def open_timm(reference: str) -> Pretrained:
    """The model of `timm:MODEL` (timm's default weights of it) or `timm:MODEL.TAG`.

    The weights are asked for when they are loaded: `--weights none` and `--weights FILE` need no network.

    Raises:
        UsageError: there is no such model or tag, or it cannot be cut into stages.
    """
    given = reference.partition(":")[2]
    config = config_of(given)
    name = given if "." in given or not config.tag else f"{given}.{config.tag}"
    _, facts = understood(name)
    about = {"licence": config.license, "origin": config.origin_url, "paper": config.paper_name}
    told = {key: str(value) for key, value in about.items() if value}
    return Pretrained({"model": name, "image_size": 0}, partial(_fetch, config, reference), facts.to_json(), told)


def _fetch(config: Any, where: str) -> tuple[Path, ...]:
    """The weights' file on this machine.

    Raises:
        UsageError: timm has no weights of that name.
        RunFailed: they were not downloaded before, and cannot be now.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    if not config.hf_hub_id:
        raise UsageError("has no pretrained weights on the hub", where=where, hint=_WAY_OUT)
    repository, _, revision = str(config.hf_hub_id).partition("@")
    try:
        file = hf_hub_download(repository, FILE, revision=revision or None, local_files_only=offline())
    except LocalEntryNotFoundError:
        reason = "the network is forbidden" if offline() else "the hub cannot be reached"
        raise RunFailed(f"{reason}, and its weights were not downloaded before", where=where, hint=_WAY_OUT) from None
    except (RepositoryNotFoundError, EntryNotFoundError):
        raise RunFailed(f"{repository} has no {FILE} on the hub", where=where, hint=_WAY_OUT) from None
    except Exception as error:  # a library boundary: network layers raise whatever they raise
        first = (str(error).strip().splitlines() or [type(error).__name__])[0][:120].rstrip(".")
        raise RunFailed(f"cannot be downloaded ({first})", where=where, hint=_WAY_OUT) from None
    return (Path(file),)
