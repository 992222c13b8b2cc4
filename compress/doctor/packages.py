"""The Python packages that decide what can be done: which release is installed, whether it imports, how to get it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

from compress.backends.providers import CUDA
from compress.backends.tried_providers import CODE, told
from compress.core.installation import GPU_RUNTIME, install_command

#: On a busy machine with a cold disk, torch has taken a minute.
_SECONDS = 120.0
#: Before what is asked of a package: some print lines of their own.
_TOLD = "providers: "
#: Packages that bring the same module.
_SAME_FILES = ("onnxruntime", "onnxruntime-gpu")
_TWICE = "onnxruntime and onnxruntime-gpu are both installed, and write the same files: nobody knows which one runs"
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
    Wanted("onnxruntime-gpu", "onnxruntime", "the target cuda, on a machine with an NVIDIA GPU"),
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
        providers: Execution providers in which this ONNX Runtime opens a session.
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
    installed = {package.name: _version(package.name) for package in wanted}
    both = all(installed.get(name) is not None for name in _SAME_FILES)
    tried = [package for package in wanted if importing and installed[package.name] is not None]
    with ThreadPoolExecutor(max_workers=4) as pool:
        results = dict(zip((package.name for package in tried), pool.map(_import, tried), strict=True))
    packages = (_package(package, installed, results.get(package.name)) for package in wanted)
    return tuple(
        replace(package, problem=_TWICE, install=GPU_RUNTIME)
        if both and package.name in _SAME_FILES
        else package
        for package in packages
    )


def _package(
    wanted: Wanted, installed: dict[str, str | None], tried: tuple[str | None, tuple[str, ...]] | None
) -> Package:
    installed_version = installed[wanted.name]
    requirement = _requirement(wanted)
    problem, providers = tried if tried is not None else (None, ())
    if installed_version is None:
        replaced = wanted.instead and installed.get(wanted.instead)
        problem = f"{wanted.instead} {replaced} is installed instead" if replaced else "not installed"
        install = None if replaced else _command(wanted, requirement)
    elif problem is not None:
        install = f"pip install --force-reinstall {_quoted(requirement)}{_after(wanted)}"
    elif not within(installed_version, requirement):
        problem = f"outside of {requirement.removeprefix(wanted.name)}"
        install = f"pip install {_quoted(requirement)}{_after(wanted)}"
    else:
        install = None
    imports = None if tried is None else tried[0] is None
    if imports and problem is None and wanted.name == "onnxruntime-gpu" and CUDA not in providers:
        problem = (
            f"no session opens in its {CUDA}: no GPU here, or CUDA or cuDNN is missing or of another release"
        )
    return Package(wanted.name, installed_version, imports, problem, wanted.purpose, install, providers)


def _command(wanted: Wanted, requirement: str) -> str:
    if wanted.name == "onnxruntime-gpu":
        return GPU_RUNTIME
    install = install_command(wanted.extra) if wanted.extra else f"pip install {_quoted(requirement)}"
    return f"{install}{_after(wanted)}"


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
    """Import a package; return its problem, and the execution providers in which ONNX Runtime opens a session."""
    plain = f"import {wanted.module}\nprint({_TOLD!r} + '[[], []]')"
    code = CODE if wanted.module == "onnxruntime" else plain
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
    names = told(done.stdout)
    if done.returncode == 0 and names is not None:
        return None, names[0]
    if done.returncode < 0:
        return f"ends Python with signal {-done.returncode} when it is imported", ()
    said = done.stderr.strip().splitlines()
    return f"does not import: {said[-1][:200] if said else f'exit status {done.returncode}'}", ()
