"""A rule that asks an installed Torch-TensorRT how it would divide the graph, without building an engine."""

from __future__ import annotations

from collections.abc import Iterator

from compress.errors import NetworkError, UnavailableError
from compress.lint.findings import Finding, Subject


def divided(subject: Subject) -> Iterator[Finding]:
    """Rule: no operator stays in PyTorch; a graph that cannot be compiled at all is an error."""
    from compress.backends.torch_tensorrt import TorchTensorRt, fixed
    from compress.backends.torch_tensorrt_partition import partition
    from compress.network.formats.onnx_file import read_specs

    model, backend = subject.graph.model, TorchTensorRt()
    if backend.not_supported_reasons(model, subject.target):  # it says so itself
        return
    try:
        options = backend.default_options(subject.target)
        fixed(read_specs(model)[0], options["shapes"])
        parts = partition(model, options)
    except UnavailableError as error:
        message = f"not checked what would stay in PyTorch: {error.found}"
        yield Finding("partition", "note", "", message, error.todo)
        return
    except NetworkError as error:
        yield Finding("partition", "error", "", f"wanted {error.wanted}; found {error.found}", error.todo)
        return
    source = f"Torch-TensorRT {parts.release}'s dry run: partition only, no engine was built"
    for remaining in parts.in_torch:
        yield Finding(
            "partition",
            "warning",
            "",
            f"{remaining.count} of {remaining.operator} stay in PyTorch: {remaining.reason}",
            "build it with the back end tensorrt as well, and let the measurements choose",
            source,
        )
    yield Finding(
        "partition",
        "note",
        "",
        f"{sum(parts.engines)} of {parts.operators} operators go into {_counted(len(parts.engines), 'engine')}",
        "time it on the GPU",
        source,
    )


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
