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

    from compress.api.benchmark import BenchmarkResult, benchmark
    from compress.api.choose_student import StudentResult, choose_student
    from compress.api.debug import DebugResult, debug
    from compress.api.distill import DistillResult, distill
    from compress.api.explain import explain
    from compress.api.gate import GateResult, gate_build
    from compress.api.inspect import InspectResult, inspect
    from compress.api.lint import LintResult, lint_network
    from compress.api.optimize import OptimizeResult, optimize
    from compress.api.plan import PlanResult, plan
    from compress.api.predict import PredictResult, predict
    from compress.api.profile import profile
    from compress.api.prune import PruneResult, prune
    from compress.api.quantize import QuantizeResult, quantize
    from compress.api.report import report
    from compress.api.several_targets import TargetOutcome, optimize_targets
    from compress.bundle.bundle import Bundle, load_bundle
    from compress.data.task import Task, load_task
    from compress.errors import CompressError
    from compress.network.network import Network, load_network
    from compress.recipe import Recipe
    from compress.records.profile import Profile
    from compress.search.decision import Choice
    from compress.search.limits import Limits
    from compress.search.run_directory import Candidate
    from compress.target.target import Target, list_targets, load_target

install()

__all__ = [
    "BenchmarkResult",
    "Bundle",
    "Candidate",
    "Choice",
    "CompressError",
    "DebugResult",
    "DistillResult",
    "GateResult",
    "InspectResult",
    "Limits",
    "LintResult",
    "Network",
    "OptimizeResult",
    "PlanResult",
    "PredictResult",
    "Profile",
    "PruneResult",
    "QuantizeResult",
    "Recipe",
    "StudentResult",
    "Target",
    "TargetOutcome",
    "Task",
    "benchmark",
    "choose_student",
    "debug",
    "distill",
    "explain",
    "gate_build",
    "inspect",
    "lint_network",
    "list_targets",
    "load_bundle",
    "load_network",
    "load_target",
    "load_task",
    "optimize",
    "optimize_targets",
    "plan",
    "predict",
    "profile",
    "prune",
    "quantize",
    "report",
]

# `gate` and `lint` are packages, and an import of one would replace a function of its name: hence gate_build and
# lint_network.
_HOME = {
    "DebugResult": "api.debug",
    "debug": "api.debug",
    "BenchmarkResult": "api.benchmark",
    "benchmark": "api.benchmark",
    "Bundle": "bundle.bundle",
    "Candidate": "search.run_directory",
    "Choice": "search.decision",
    "CompressError": "errors",
    "DistillResult": "api.distill",
    "GateResult": "api.gate",
    "InspectResult": "api.inspect",
    "Limits": "search.limits",
    "LintResult": "api.lint",
    "Network": "network.network",
    "OptimizeResult": "api.optimize",
    "PlanResult": "api.plan",
    "PredictResult": "api.predict",
    "Profile": "records.profile",
    "PruneResult": "api.prune",
    "QuantizeResult": "api.quantize",
    "Recipe": "recipe",
    "StudentResult": "api.choose_student",
    "Target": "target.target",
    "TargetOutcome": "api.several_targets",
    "Task": "data.task",
    "choose_student": "api.choose_student",
    "distill": "api.distill",
    "explain": "api.explain",
    "gate_build": "api.gate",
    "inspect": "api.inspect",
    "lint_network": "api.lint",
    "list_targets": "target.target",
    "load_bundle": "bundle.bundle",
    "load_network": "network.network",
    "load_target": "target.target",
    "load_task": "data.task",
    "optimize": "api.optimize",
    "optimize_targets": "api.several_targets",
    "plan": "api.plan",
    "predict": "api.predict",
    "profile": "api.profile",
    "prune": "api.prune",
    "quantize": "api.quantize",
    "report": "api.report",
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
