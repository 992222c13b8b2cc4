"""Rule for open axes, whose ranges an engine must be told."""

from __future__ import annotations

from collections.abc import Iterator

from compress.lint.findings import Finding, Subject
from compress.onnx_graph.shapes import input_specs

_SOURCE = "TensorRT developer guide, Working with Dynamic Shapes"


def open_axes(subject: Subject) -> Iterator[Finding]:
    """Rule: only the batch is open; other open axes need ranges, and kernels are chosen for one size in them."""
    for spec in input_specs(subject.graph.model):
        axes = [
            f"{axis} ({size})"
            for axis, size in enumerate(spec.shape)
            if axis != spec.batch_axis and isinstance(size, str)
        ]
        shape_range = subject.target.input_shapes.get(spec.name)
        if not axes or (shape_range is not None and shape_range.fits(spec)):
            continue
        form = "x".join(str(size) if isinstance(size, int) else f"<{size}>" for size in spec.shape)
        profile = " ".join(f"--{option}Shapes={spec.name}:{form}" for option in ("min", "opt", "max"))
        yield Finding(
            "open-axis",
            "warning",
            spec.name,
            f"axis {', '.join(axes)} is open: TensorRT needs its smallest, usual and largest size, is fast at the"
            " usual one, and its DLA takes none",
            "compress optimize builds for the sizes of its data or of --shape; with trtexec give the optimization"
            f" profile ({profile})",
            _SOURCE,
        )
