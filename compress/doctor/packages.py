"""The Python packages that decide what can be done: which release is installed, whether it imports, how to get it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from compress.core.installation import install_command

#: On a busy machine with a cold disk, torch has taken a minute.
_SECONDS = 120.0
#: Before what is asked of a package: some print lines of their own.
_TOLD = "providers: "
_CPU_INDEX = "--index-url https://download.pytorch.org/whl/cpu"
_NVIDIA_INDEX = "--extra-index-url https://pypi.nvidia.com"


@dataclass(frozen=True)
class Wanted:
    """A package that something needs.

    Attributes:
        name: Name for pip.
        module: Name of the module that Python imports.
        purpose: Purpose of the package.
        extra: Name of the extra of compress-toolkit that installs the package; empty where every installation has it.
        options: Further options that pip needs to install it.
        instead: Name of another package that serves as well.
    """

    name: str
    module: str
    purpose: str
    extra: str = ""
    options: str = ""
    instead: str = ""


PACKAGES: tuple[Wanted, ...] = (
    Wanted("torch", "torch", "reading, pruning and training networks", options=_CPU_INDEX),
    Wanted("onnx", "onnx", "reading and writing graphs, estimates"),
    Wanted("onnxruntime", "onnxruntime", "the targets cpu and raspberry-pi-5", instead="onnxruntime-gpu"),
    Wanted("onnxruntime-gpu", "onnxruntime", "the target cuda, on a machine with an NVIDIA GPU", "cuda"),
    Wanted("openvino", "openvino", "a second runtime on x86 processors", "openvino"),
    Wanted("neural-compressor", "neural_compressor", "weight-only quantization"),
    Wanted(
        "torch-tensorrt",
        "torch_tensorrt",
        "TensorRT from PyTorch, on a machine with an NVIDIA GPU",
        "torch-tensorrt",
        _NVIDIA_INDEX,
    ),
    Wanted(
        "tensorrt",
        "tensorrt",
        "running a bundle's engine from Python, on the machine that it was built on",
        options=_NVIDIA_INDEX,
    ),
    Wanted("pillow", "PIL", "folders of images"),
    Wanted("scikit-learn", "sklearn", "compress demo", "demo"),
)


@dataclass(frozen=True)
class Package:
    """State of a package on this machine.

    Attributes:
        name: Name for pip.
        version: Installed version; None where it is not installed.
        imports: Whether Python can import it; None where it was not tried.
        problem: Problem of the package; None without one.
        purpose: Purpose of the package.
        install: Command that installs or repairs it; None where nothing is to be done.
        providers: Execution providers of ONNX Runtime.
    """

    name: str
    version: str | None
    imports: bool | None
    problem: str | None
    purpose: str
    install: str | None
    providers: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether it is installed and nothing is known to be wrong with importing it."""
        return self.version is not None and self.imports is not False

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return {**asdict(self), "providers": list(self.providers)}


def look(wanted: Sequence[Wanted] = PACKAGES, *, importing: bool = True) -> tuple[Package, ...]:
    """Find the state of each package.

    Args:
        wanted: Packages to look for.
        importing: Whether to import those that are installed, which takes seconds.
    """
    installed = {each.name: _version(each.name) for each in wanted}
    tried = [each for each in wanted if importing and installed[each.name] is not None]
    with ThreadPoolExecutor(max_workers=4) as pool:
        results = dict(zip((each.name for each in tried), pool.map(_import, tried), strict=True))
    return tuple(_package(each, installed, results.get(each.name)) for each in wanted)


def _package(
    wanted: Wanted, installed: dict[str, str | None], tried: tuple[str | None, tuple[str, ...]] | None
) -> Package:
    found = installed[wanted.name]
    requirement = _requirement(wanted)
    problem, providers = tried if tried is not None else (None, ())
    if found is None:
        replaced = wanted.instead and installed.get(wanted.instead)
        problem = f"{wanted.instead} {replaced} is installed instead" if replaced else "not installed"
        install = None if replaced else _command(wanted, requirement)
    elif problem is not None:
        install = f"pip install --force-reinstall {_quoted(requirement)}{_after(wanted)}"
    elif not within(found, requirement):
        problem = f"outside of {requirement.removeprefix(wanted.name)}"
        install = f"pip install {_quoted(requirement)}{_after(wanted)}"
    else:
        install = None
    imports = None if tried is None else tried[0] is None
    return Package(wanted.name, found, imports, problem, wanted.purpose, install, providers)


def _command(wanted: Wanted, requirement: str) -> str:
    install = install_command(wanted.extra) if wanted.extra else f"pip install {_quoted(requirement)}"
    before = "pip uninstall -y onnxruntime && " if wanted.name == "onnxruntime-gpu" else ""
    return f"{before}{install}{_after(wanted)}"


def _after(wanted: Wanted) -> str:
    return f" {wanted.options}" if wanted.options else ""


def _quoted(requirement: str) -> str:
    return f"'{requirement}'" if re.search(r"[<>\[]", requirement) else requirement


def _requirement(wanted: Wanted) -> str:
    """Return the requirement that this installation of compress-toolkit declares, or the name alone."""
    for line in _declared():
        name, bounds = re.fullmatch(r"([\w.-]+)(?:\[[^]]*\])?(.*)", line.split(";")[0].strip()).groups()  # type: ignore[union-attr]
        if name.replace("_", "-").lower() == wanted.name:
            return f"{wanted.name}{','.join(sorted(filter(None, bounds.strip().split(',')), reverse=True))}"
    return wanted.name


def _declared() -> Iterator[str]:
    try:
        yield from requires("compress-toolkit") or ()
    except PackageNotFoundError:
        return


def within(found: str, requirement: str) -> bool:
    """Whether a release is in a range of ``>=`` and ``<``, by its numbers alone."""
    numbers = _numbers(found)
    lowest = re.search(r">=([\d.]+)", requirement)
    limit = re.search(r"<([\d.]+)", requirement)
    return (lowest is None or numbers >= _numbers(lowest[1])) and (
        limit is None or numbers < _numbers(limit[1])
    )


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text.split("+")[0])[:3])


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _import(wanted: Wanted) -> tuple[str | None, tuple[str, ...]]:
    """Import a package; return its problem, and ONNX Runtime's execution providers."""
    code = f"import {wanted.module} as module, json\n"
    code += f"print('{_TOLD}' + json.dumps(getattr(module, 'get_available_providers', list)()))"
    try:
        done = subprocess.run(
            # -P: nothing is imported from the working directory.
            [sys.executable, "-P", "-c", code],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"did not import within {_SECONDS:g} s", ()
    told = [line for line in done.stdout.splitlines() if line.startswith(_TOLD)]
    if done.returncode == 0 and told:
        return None, tuple(json.loads(told[-1].removeprefix(_TOLD)))
    if done.returncode < 0:
        return f"ends Python with signal {-done.returncode} when it is imported", ()
    said = done.stderr.strip().splitlines()
    return f"does not import: {said[-1][:200] if said else f'exit status {done.returncode}'}", ()
