"""Modules and names that have moved: until :data:`GONE_IN` the old names import the new ones, and warn.

``from compress.tensors import TensorSpec`` gives what ``from compress.core.tensor_spec import TensorSpec`` gives.
"""

# Imported with the package itself: it must import nothing that Python has not loaded already (see compress/__init__).
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

#: The release from which on the old names do not import any more.
GONE_IN = "0.3.0"

#: The module or package that each old one has become, both without ``compress.`` before them.
MOVED = {
    "attempts": "search.attempts",
    "bounded_embeddings": "network.bounded_embeddings",
    "call_form": "network.call_form",
    "choice": "search.decision",
    "closest": "core.suggestions",
    "closing": "core.closeable",
    "code_identity": "core.code_identity",
    "competition": "search.backends",
    "custom_operators": "network.custom_operators",
    "data.detection_options": "metrics.detection_options",
    "demo": "api.demo",
    "deploy": "bundle.programs",
    "distilling": "api.distill",
    "equivalence": "network.equivalence",
    "evaluating": "data.evaluation",
    "example": "network.example",
    "export": "network.onnx_export",
    "export_layers": "network.layer_export",
    "export_recurrent": "network.recurrent_export",
    "first_call": "network.first_call",
    "fitting": "lint.legalize",
    "formats": "network.formats",
    "freed_memory": "core.freed_memory",
    "history": "search.run_directory",
    "hosts.detected": "machine.figures",
    "hosts.machine": "machine.machine",
    "installation": "core.installation",
    "json_text": "core.json_text",
    "layer_shapes": "network.layer_shapes",
    "lift": "network.lifting.graph",
    "lift_attention": "network.lifting.fused_attention",
    "lift_bags": "network.lifting.embedding_bags",
    "lift_batch": "network.lifting.dynamic_batch",
    "lift_by_sample": "network.lifting.convolutions_by_sample",
    "lift_calls": "network.lifting.calls",
    "lift_decomposed": "network.lifting.recomposition",
    "lift_device": "network.lifting.device",
    "lift_folding": "network.lifting.folding",
    "lift_lengths": "network.lifting.open_lengths",
    "lift_rules": "network.lifting.to_modules",
    "lift_unknown": "network.lifting.without_onnx_form",
    "lift_verification": "network.lifting.verification",
    "lift_widening": "network.lifting.widening",
    "lift_writing": "network.lifting.call_writing",
    "loading": "api.inputs",
    "measuring.contest": "timing.contest",
    "measuring.processes": "timing.processes",
    "measuring.server": "timing.server",
    "measuring.settings": "timing.settings",
    "measuring.solo": "timing.solo",
    "measuring.turns": "timing.turns",
    "measuring.worker": "timing.worker",
    "onnx_graph.interface": "network.onnx_interface",
    "other_process": "core.child_process",
    "own_directories": "core.own_directories",
    "pipeline": "api.optimize",
    "plain_text": "core.plain_text",
    "preparation": "network.preparation",
    "profiling.engine_shapes": "measuring.engine_shapes",
    "profiling.first_look": "search.first_look",
    "profiling.layer_pair": "measuring.layer_pair",
    "profiling.measure": "measuring.measure",
    "profiling.standalone": "measuring.standalone",
    "progress": "core.progress",
    "pruned": "api.prune",
    "pytest_plugin": "testing.pytest_plugin",
    "quantization_aware": "quantization.aware",
    "quantizing": "api.quantize",
    "reading": "core.bounded_reading",
    "record": "records.profile",
    "recorded": "bundle.profile_file",
    "references": "core.object_references",
    "returned": "network.returned_containers",
    "sample_axis": "network.sample_axis",
    "saving": "network.saving",
    "schemas": "records.schemas",
    "sealed_json": "core.digests",
    "shape_ranges": "target.shape_ranges",
    "shipping": "api.shipping",
    "single_sample": "network.single_sample",
    "sniff": "network.formats.detection",
    "sparsity": "pruning.masks_2_4",
    "sparsity.masks": "pruning.masks_2_4",
    "states": "network.states",
    "streams": "network.streams",
    "students.choosing": "api.choose_student",
    "target_arithmetic": "target.arithmetic",
    "task": "data.task",
    "tensors": "core.tensor_spec",
    "time_budget": "search.time_budget",
    "toml_reader": "core.toml_schema",
    "trace": "network.tracing",
    "trace_operators": "network.traced_operators",
    "typed": "core.typed_records",
    "user_code": "core.user_code",
    "versions": "core.versions",
    "weight_only": "quantization.weights",
    "writing": "core.files",
}

#: What is called something else now, by the new module and the old name: its name there, or ``module:name`` where it is
#: in another module than the rest.
RENAMED = {
    ("api.choose_student", "ChosenStudent"): "StudentResult",
    ("api.distill", "Distilled"): "DistillResult",
    ("api.distill", "Measured"): "Evaluated",
    ("api.distill", "measured"): "evaluate",
    ("api.inputs", "load_for"): "load_bound",
    ("api.optimize", "Result"): "OptimizeResult",
    ("api.prune", "Pruned"): "PruneResult",
    ("api.quantize", "Quantized"): "QuantizeResult",
    ("api.shipping", "ship"): "assemble_bundle",
    ("bundle.bundle", "beside"): "bundle.writing:beside",
    ("bundle.bundle", "check_replaceable"): "bundle.writing:check_replaceable",
    ("bundle.bundle", "write_bundle"): "bundle.writing:write_bundle",
    ("bundle.profile_file", "sealed"): "with_digest",
    ("core.closeable", "Closing"): "Closeable",
    ("core.digests", "SEAL"): "DIGEST",
    ("core.digests", "sealed"): "with_digest",
    ("core.digests", "sealed_line"): "line_with_digest",
    ("core.digests", "unsealed"): "content_as_written",
    ("core.files", "replaced_whole"): "core.replacing:replaced_whole",
    ("core.suggestions", "closest"): "did_you_mean",
    ("data.evaluation", "Measured"): "MeasuredSamples",
    ("lint.legalize", "fitted"): "legalize",
    ("metrics", "mean_error"): "metrics.regression:mean_error",
    ("metrics.detection_options", "read_table"): "data.detection_table:read_table",
    ("onnx_graph.files", "check_size"): "network.formats.onnx_size:check_size",
    ("pruning.propagation", "Axes"): "pruning.axes:Axes",
    ("pruning.propagation", "LayerRule"): "pruning.axes:LayerRule",
    ("pruning.propagation", "Reading"): "pruning.axes:Reading",
    ("pruning.propagation", "Rule"): "pruning.axes:Rule",
    ("pruning.propagation", "Work"): "pruning.axes:Work",
    ("records.profile", "SEAL"): "DIGEST",
    ("search.backends", "Competition"): "CompetingBackends",
    ("search.backends", "competition"): "competing_backends",
    ("search.run_directory", "History"): "RunDirectory",
    ("training.settings", "TrainingSettings"): "TrainingOptions",
}


def install() -> None:
    """Let the old names be imported."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())  # a finder by its method


def names_of(package: str, module: str) -> "Callable[[str], Any]":
    """Return a ``__getattr__`` for a package whose name was a module before, or for a module that lost single names.

    Args:
        package: Name of the package or module.
        module: The module that holds what the old module held; the same name for a module that is still there.
    """

    def get(name: str) -> "Any":
        if name.startswith("__"):
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return _taken(package, module, name)

    return get


def renamed(module: str, old: str, new: str) -> "Any":
    """Return what a module holds under its new name, for somebody who asked by the old one; warns."""
    message = f"'{module}.{old}' is '{module}.{new}' now; the old name goes in compress {GONE_IN}"
    import warnings

    warnings.warn(message, DeprecationWarning, stacklevel=3)
    import importlib

    return getattr(importlib.import_module(module), new)


def _taken(old: str, module: str, name: str) -> "Any":
    """Return what a module holds under a name, or under the name and in the module that it has today."""
    place = RENAMED.get((module.removeprefix("compress."), name))
    unknown = f"module '{old}' has no attribute '{name}'"
    if place is None and old == module:
        raise AttributeError(unknown)
    home, _, now = (place or name).rpartition(":")
    home = f"compress.{home}" if home else module
    import importlib

    package = importlib.import_module(home)
    try:
        value = getattr(package, now)
    except AttributeError:
        raise AttributeError(unknown) from None
    message = f"'{old}.{name}' is '{home}.{now}' now; the old name goes in compress {GONE_IN}"
    import warnings

    warnings.warn(message, DeprecationWarning, stacklevel=3)
    return value


class _Finder:
    """Finds modules by their old names; it is asked after all others."""

    def find_spec(
        self, fullname: str, path: "Sequence[str] | None", target: "ModuleType | None" = None
    ) -> "ModuleSpec | None":
        """Return the old module, made of the new one; None for a module that has not moved, or is not there."""
        new = _new_name(fullname)
        if new is None:
            return None
        from importlib.machinery import ModuleSpec
        from importlib.util import find_spec

        spec = find_spec(new)
        if spec is None:
            return None
        below = f"{fullname.removeprefix('compress.')}."
        package = spec.submodule_search_locations is not None or any(name.startswith(below) for name in MOVED)
        return ModuleSpec(fullname, _Loader(new), is_package=package)  # type: ignore[arg-type]  # a loader by its methods


class _Loader:
    """Makes a module that takes everything from the new one, when it is asked for."""

    def __init__(self, new: str) -> None:
        self._new = new

    def create_module(self, spec: "ModuleSpec") -> None:
        """Leave it to Python to make an empty module."""

    def exec_module(self, module: "ModuleType") -> None:
        """Let the empty module take every name from the new one."""
        import importlib

        importlib.import_module(self._new)
        module.__getattr__ = names_of(module.__name__, self._new)  # type: ignore[method-assign]


def _new_name(fullname: str) -> str | None:
    """Return today's name of a module; None for one that has not moved."""
    root, _, submodule = fullname.partition(".")
    if root != "compress":
        return None
    parts = submodule.split(".")
    for length in range(len(parts), 0, -1):
        moved_to = MOVED.get(".".join(parts[:length]))
        if moved_to is not None:
            return ".".join(["compress", moved_to, *parts[length:]])
    return None
