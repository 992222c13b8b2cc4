"""Installation of this copy of compress, and the command that installs an extra of it.

The name of a distribution leads to whoever registered it, so it is told only to whom it led before.
"""

from __future__ import annotations

import importlib
import json
import shlex
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from compress.errors import UnavailableError

NAME = "compress-toolkit"


#: Command that leaves onnxruntime-gpu alone. Both write the same files, and the last one to be installed wins: so it is
#: no dependency of any extra, which would require onnxruntime beside it and bring that back.
GPU_RUNTIME = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime-gpu>=1.22,<2'"


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


def imported(package: str, extra: str, purpose: str = "") -> Any:
    """Return an optional package, imported.

    Args:
        package: Name under which it is imported.
        extra: Name of the optional dependency group that brings it.
        purpose: Purpose that it is wanted for, for the message: "which builds 'timm:resnet18'"; empty for none.

    Raises:
        UnavailableError: It is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(package)
    except Exception as error:  # a package may fail on import in any way
        wanted = f"{package}, {purpose}" if purpose else f"the package {package}"
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            raise UnavailableError(wanted, "it is not installed", install_command(extra)) from error
        reason = next(iter(str(error).splitlines()), "")
        raise UnavailableError(
            wanted,
            f"it cannot be imported ({type(error).__name__}: {reason})",
            f"check with: python -c 'import {package}'",
        ) from error


@cache
def _clone() -> Path | None:
    """Return the checkout that this copy runs from; None where it is installed."""
    top = Path(__file__).resolve().parents[2]
    return top if (top / "pyproject.toml").is_file() else None


@cache
def _origin() -> dict[str, Any] | None:
    """Return pip's record of the running copy: empty for a package index, None without a record."""
    try:
        installed: Distribution = distribution(NAME)
        if Path(str(installed.locate_file("compress"))).resolve() != Path(__file__).resolve().parents[1]:
            return None
        direct_url = installed.read_text("direct_url.json")
        origin: dict[str, Any] = {} if direct_url is None else json.loads(direct_url)
    except (PackageNotFoundError, OSError, ValueError):
        return None
    return origin if isinstance(origin.get("url", ""), str) else None


def _address(origin: dict[str, Any]) -> str:
    control = origin.get("vcs_info")
    if not isinstance(control, dict):
        return str(origin["url"])
    return f"{control.get('vcs', 'git')}+{origin['url']}@{control.get('commit_id', 'HEAD')}"
