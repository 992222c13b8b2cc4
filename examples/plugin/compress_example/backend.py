"""A back end: ONNX Runtime under another name, which refuses control flow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from compress.backends.base import Artifact, Backend, Session
from compress.backends.onnxruntime import OnnxRuntime, OnnxRuntimeOptions
from compress.backends.session_options import SessionOptions

if TYPE_CHECKING:
    import onnx

    from compress.records.coverage import Coverage
    from compress.target.target import Target

_CONTROL_FLOW = ("If", "Loop", "Scan")


class ExampleRuntime(Backend):
    """The example's runtime."""

    name: ClassVar[str] = "example-runtime"
    runtime: ClassVar[str] = "onnxruntime"
    title: ClassVar[str] = "the example's runtime"
    computes: ClassVar[tuple[str, ...]] = ("fp32", "int8")
    contrib_operators: ClassVar[bool] = True
    session_options: ClassVar[type[SessionOptions]] = OnnxRuntimeOptions

    def precisions(self, target: Target) -> tuple[str, ...]:
        """Offer fp32 and int8 on any processor that is this machine, without its file listing this back end."""
        return ("fp32", "int8") if target.here else ()

    def not_supported_reasons(self, model: onnx.ModelProto, target: Target) -> tuple[str, ...]:
        """Name every node of control flow."""
        return tuple(
            f"it has no {node.op_type} ({node.name or node.output[0]})"
            for node in model.graph.node
            if node.op_type in _CONTROL_FLOW
        )

    def compile(self, model: onnx.ModelProto, directory: Path, options: Mapping[str, Any]) -> Artifact:
        """Write the graph and let ONNX Runtime check it."""
        return replace(OnnxRuntime().compile(model, directory, options), backend=self.name)

    def open(self, artifact: Artifact) -> Session:
        """Open it in ONNX Runtime."""
        return OnnxRuntime().open(artifact)

    def default_options(self, target: Target, threads: int | None = None) -> dict[str, Any]:
        """Give ONNX Runtime's options."""
        return OnnxRuntime().default_options(target, threads)

    def variants(
        self, options: Mapping[str, Any], target: Target, threads: int | None = None
    ) -> list[dict[str, Any]]:
        """Try no other options."""
        return []

    def coverage(self, artifact: Artifact) -> Coverage | None:
        """Tell what ONNX Runtime tells."""
        return OnnxRuntime().coverage(artifact)
