"""How this copy of compress was installed, and how to install an extra of it.

The name of a distribution leads to whoever registered it, so it is told only to whom it led before.
"""

from __future__ import annotations

import json
import shlex
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

NAME = "compress-toolkit"


def install_command(extra: str) -> str:
    """Return the shell command that installs an extra of the running copy.

    Args:
        extra: The name of an optional dependency group in pyproject.toml, such as ``openvino``.
    """
    clone = _clone()
    if clone is not None:
        here = f"pip install -e '.[{extra}]'"
        return here if clone == Path.cwd() else f"cd {shlex.quote(str(clone))} && {here}"
    origin = _origin()
    if origin is None:
        return f"pip install -e '.[{extra}]' in a clone of compress"
    if not origin:
        return f"pip install '{NAME}[{extra}]'"
    return f"pip install {shlex.quote(f'{NAME}[{extra}] @ {_address(origin)}')}"


@cache
def _clone() -> Path | None:
    """Return the checkout that this copy runs from; None where it is installed."""
    top = Path(__file__).resolve().parents[2]
    return top if (top / "pyproject.toml").is_file() else None


@cache
def _origin() -> dict[str, Any] | None:
    """Return pip's record of the running copy: empty for a package index, None without a record."""
    try:
        found: Distribution = distribution(NAME)
        if Path(str(found.locate_file("compress"))).resolve() != Path(__file__).resolve().parents[1]:
            return None
        told = found.read_text("direct_url.json")
        origin: dict[str, Any] = {} if told is None else json.loads(told)
    except (PackageNotFoundError, OSError, ValueError):
        return None
    return origin if isinstance(origin.get("url", ""), str) else None


def _address(origin: dict[str, Any]) -> str:
    control = origin.get("vcs_info")
    if not isinstance(control, dict):
        return str(origin["url"])
    return f"{control.get('vcs', 'git')}+{origin['url']}@{control.get('commit_id', 'HEAD')}"
