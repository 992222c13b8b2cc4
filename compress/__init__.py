"""compress: the fastest build of a trained network for a device that keeps its accuracy, with the evidence.

    from compress import optimize

    result = optimize("model.pt2", data="val/", target="jetson")
    print(result.choice.reason)

Everything is imported when it is first used: ``import compress`` alone costs neither torch nor onnx.
"""

# `python -m compress` runs this before it takes the working directory off Python's path, where a file could stand in
# for any module: so nothing is imported here that Python has not loaded already, not even `typing` and `__future__`.
from compress.core.moved import install, renamed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from compress.api.choose_student import StudentResult, choose_student
    from compress.api.distill import DistillResult, distill
    from compress.api.optimize import OptimizeResult, optimize
    from compress.api.prune import PruneResult, prune
    from compress.api.quantize import QuantizeResult, quantize
    from compress.bundle.bundle import Bundle, load_bundle
    from compress.data.task import Task, load_task
    from compress.errors import CompressError
    from compress.network.network import Network, load_network
    from compress.recipe import Recipe
    from compress.records.profile import Profile
    from compress.search.decision import Choice, Limits
    from compress.search.run_directory import Candidate
    from compress.target.target import Target, list_targets, load_target

install()

__all__ = [
    "Bundle",
    "Candidate",
    "Choice",
    "CompressError",
    "DistillResult",
    "Limits",
    "Network",
    "OptimizeResult",
    "Profile",
    "PruneResult",
    "QuantizeResult",
    "Recipe",
    "StudentResult",
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
    "Bundle": "bundle.bundle",
    "Candidate": "search.run_directory",
    "Choice": "search.decision",
    "StudentResult": "api.choose_student",
    "CompressError": "errors",
    "DistillResult": "api.distill",
    "Limits": "search.decision",
    "Network": "network.network",
    "Profile": "records.profile",
    "PruneResult": "api.prune",
    "QuantizeResult": "api.quantize",
    "Recipe": "recipe",
    "OptimizeResult": "api.optimize",
    "Target": "target.target",
    "Task": "data.task",
    "choose_student": "api.choose_student",
    "distill": "api.distill",
    "list_targets": "target.target",
    "load_bundle": "bundle.bundle",
    "load_network": "network.network",
    "load_target": "target.target",
    "load_task": "data.task",
    "optimize": "api.optimize",
    "prune": "api.prune",
    "quantize": "api.quantize",
}


#: Names that results had, and the ones they have now; gone with :data:`compress.core.moved.GONE_IN`.
_FORMER = {
    "ChosenStudent": "StudentResult",
    "Distilled": "DistillResult",
    "Pruned": "PruneResult",
    "Quantized": "QuantizeResult",
    "Result": "OptimizeResult",
}


def __getattr__(name: str) -> "Any":
    if name == "__version__":
        from importlib.metadata import version

        return version("compress-toolkit")
    if name in _FORMER:
        return renamed("compress", name, _FORMER[name])
    if name not in _HOME:
        raise AttributeError(f"module 'compress' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"compress.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
