"""Versions of the packages that make, run and measure a build."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from compress.core.registry import adding_distributions

_PACKAGES = (
    "compress-toolkit",
    "torch",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "torch-tensorrt",
    "numpy",
)


def versions() -> dict[str, str]:
    """Installed version of each package that matters, and of Python; packages that are absent are left out.

    Those that add techniques, metrics and the like to compress matter too.
    """
    by_package = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            by_package[package] = version(package)
        except PackageNotFoundError:
            continue
    return by_package | adding_distributions()
