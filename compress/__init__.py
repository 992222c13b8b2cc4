"""compress: the fastest build of a trained network for a device that keeps its accuracy, with the evidence.

    from compress import optimize

    result = optimize("model.pt2", data="val/", target="jetson")
    print(result.choice.reason)

Everything is imported when it is first used: ``import compress`` alone costs neither torch nor onnx.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.bundle import Bundle, load_bundle
    from compress.choice import Choice, Limits
    from compress.distilling import Distilled, distill
    from compress.errors import CompressError
    from compress.history import Candidate
    from compress.network import Network, load_network
    from compress.pipeline import Result, optimize
    from compress.pruned import Pruned, prune
    from compress.quantizing import Quantized, quantize
    from compress.recipe import Recipe
    from compress.record import Profile
    from compress.students.choosing import ChosenStudent, choose_student
    from compress.target import Target, list_targets, load_target
    from compress.task import Task, load_task

__all__ = [
    "Bundle",
    "Candidate",
    "Choice",
    "ChosenStudent",
    "CompressError",
    "Distilled",
    "Limits",
    "Network",
    "Profile",
    "Pruned",
    "Quantized",
    "Recipe",
    "Result",
    "Target",
    "Task",
    "choose_student",
    "distill",
    "list_targets",
    "load_bundle",
    "load_network",
    "load_target",
    "load_task",
    "optimize",
    "prune",
    "quantize",
]

_HOME = {
    "Bundle": "bundle",
    "Candidate": "history",
    "Choice": "choice",
    "ChosenStudent": "students.choosing",
    "CompressError": "errors",
    "Distilled": "distilling",
    "Limits": "choice",
    "Network": "network",
    "Profile": "record",
    "Pruned": "pruned",
    "Quantized": "quantizing",
    "Recipe": "recipe",
    "Result": "pipeline",
    "Target": "target",
    "Task": "task",
    "choose_student": "students.choosing",
    "distill": "distilling",
    "list_targets": "target",
    "load_bundle": "bundle",
    "load_network": "network",
    "load_target": "target",
    "load_task": "task",
    "optimize": "pipeline",
    "prune": "pruned",
    "quantize": "quantizing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'compress' has no attribute '{name}'")
    return getattr(importlib.import_module(f"compress.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
