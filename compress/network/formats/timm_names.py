"""Networks of timm by name: ``timm:resnet18`` as MODEL, with its trained weights, and as ``--factory``, without."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from compress.core.installation import imported
from compress.core.suggestions import did_you_mean
from compress.errors import NetworkError, UnavailableError

_NAME = re.compile(r"timm:([A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)?)")
_FILES = ("config.json", "model.safetensors")


def name_in(text: str) -> str | None:
    """Return the name in ``timm:NAME``, with its tag where it has one; None for any other text."""
    match = _NAME.fullmatch(text)
    return None if match is None else match[1]


def builder_of(reference: str) -> Callable[..., Any] | None:
    """Return what builds the network ``timm:NAME`` without trained weights; None where that names no network.

    Args:
        reference: Reference of a factory, without arguments.

    Raises:
        UnavailableError: timm cannot be imported.
    """
    name = name_in(reference)
    if name is None:
        return None
    timm = imported("timm", "timm", f"which builds '{reference}'")
    return partial(timm.create_model, name, pretrained=False) if timm.is_model(name) else None


def directory_of_name(name: str) -> Path:
    """Return the directory with the settings and trained weights of a network of timm, from the Hugging Face hub.

    What the hub's cache on this machine holds is taken; only the rest is downloaded, in safetensors alone.
    ``HF_HUB_OFFLINE=1`` keeps it from the network.

    Args:
        name: Name of the network, with the tag of its weights where another set than the usual one is meant.

    Raises:
        UnavailableError: timm cannot be imported, or the weights cannot be had.
        NetworkError: timm has no such network, or none with weights on the hub.
    """
    timm = imported("timm", "timm", f"which knows 'timm:{name}'")
    if not timm.is_model(name):
        todo = (
            did_you_mean(name, timm.list_models())
            or "list them: python -c 'import timm; print(timm.list_models())'"
        )
        raise NetworkError(f"a network that timm {timm.__version__} knows", f"'{name}'", todo)
    settings = timm.models.get_pretrained_cfg(name)
    address = getattr(settings, "hf_hub_id", None)
    if not address:
        raise NetworkError(
            "a network with trained weights on the Hugging Face hub",
            f"'timm:{name}', which has none there",
            f"give a file of its weights, with --factory timm:{name}",
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(address, allow_patterns=list(_FILES)))
    except Exception as error:
        raise UnavailableError(
            f"the weights of 'timm:{name}', {address} on the Hugging Face hub",
            f"they are not on this machine, and the hub does not give them ({type(error).__name__})",
            f"connect to the network, or give a file of its weights with --factory timm:{name}",
        ) from error
