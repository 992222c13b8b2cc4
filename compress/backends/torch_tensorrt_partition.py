"""Operators that Torch-TensorRT leaves in PyTorch, and why, from its partitioner's dry run, which builds no engine.

Each piece that stays ends one engine and begins another, with a launch and often a copy between the two. The report is
of the partition only: whether TensorRT builds what it is given, and how fast that is, a GPU alone tells.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.backends.torch_tensorrt import TorchTensorRtOptions, check_float, fixed
from compress.backends.torch_tensorrt_program import compile_arguments, exported, package
from compress.errors import InternalError, NetworkError

if TYPE_CHECKING:
    import onnx

_TOTALS = re.compile(r"consists of (\d+) Total Operators, of which (\d+) operators are supported")
_ENGINE = re.compile(r"Number of Operators in Engine: (\d+)")
_IN_TORCH = re.compile(r"^Node: (.+), with layer location:", re.MULTILINE)
_UNSUPPORTED = re.compile(r"unsupported or excluded from conversion, .*?:\n(.*?)\n\n", re.DOTALL)
_COUNTED = re.compile(r"^\s*(.+): (\d+)$", re.MULTILINE)
_GETITEM = "_operator.getitem"  # picks one of several outputs; nothing is computed


@dataclass(frozen=True)
class Left:
    """An operator that stays in PyTorch.

    Attributes:
        operator: Name in PyTorch: ``torch.ops.aten.unsafe_split.Tensor``.
        count: Number of such operators that stay.
        reason: Reason why it stays.
    """

    operator: str
    count: int
    reason: str


@dataclass(frozen=True)
class Partition:
    """Division of a graph between TensorRT and PyTorch, found without building an engine.

    Attributes:
        operators: Operators of the graph, after Torch-TensorRT lowered it.
        supported: Operators that Torch-TensorRT has a converter for and was not told to leave.
        engines: Number of operators in each engine, in the order in which they run.
        in_torch: Operators that stay in PyTorch.
        release: Release of Torch-TensorRT.
    """

    operators: int
    supported: int
    engines: tuple[int, ...]
    in_torch: tuple[Left, ...]
    release: str

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return asdict(self)


def partition(model: onnx.ModelProto, options: Mapping[str, Any] | None = None, batch: int = 1) -> Partition:
    """Let the installed Torch-TensorRT divide a graph, and build nothing.

    Args:
        model: Graph in floats.
        options: Session options of the back end; its ``arguments`` may hold ``min_block_size`` and
            ``torch_executed_ops``.
        batch: Number of samples, where it is open in the graph.

    Raises:
        NetworkError: The graph is quantized, has open axes of unknown size, or an operator that cannot be run.
        UsageError: An argument that the installed ``dynamo.compile`` does not take.
        UnavailableError: There is no Torch-TensorRT.
    """
    from compress.network.formats.onnx_file import read_specs
    from compress.onnx_graph.fold import prepare

    module = package()
    settings = TorchTensorRtOptions.read(options or {})
    check_float(model)
    prepared = prepare(model)
    inputs, _ = read_specs(prepared)
    inputs = fixed(inputs, settings.shapes)
    arguments = compile_arguments(settings)
    program, sample = exported(prepared, inputs, batch)
    with tempfile.TemporaryDirectory(prefix="compress-") as directory:
        report = Path(directory) / "partition.txt"
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # It prints what it writes, too.
                module.dynamo.compile(
                    program,
                    arg_inputs=list(sample),
                    # The default asks the GPU how much memory it has left.
                    **{"offload_module_to_cpu": True, **arguments, "dryrun": str(report)},
                )
        except Exception as error:
            raise NetworkError(
                f"a graph that Torch-TensorRT {module.__version__} divides",
                f"{type(error).__name__}: {error}"[:400],
                "use the back end tensorrt",
            ) from error
        # Where no operator at all is supported it ends before it has anything to tell.
        text = report.read_text(encoding="utf-8") if report.exists() else None
    if text is None:
        raise NetworkError(
            f"a graph that Torch-TensorRT {module.__version__} compiles at least in part",
            "no operator with a converter",
            "use the back end tensorrt",
        )
    in_torch_asked = tuple(str(name) for name in settings.arguments.get("torch_executed_ops", ()))
    least = settings.arguments.get("min_block_size", _default(module, "min_block_size"))
    return read_report(text, module.__version__, in_torch_asked, least)


def read_report(text: str, release: str, requested: tuple[str, ...], least: int) -> Partition:
    """Read a partition from the dry run's report.

    Args:
        text: Report of Torch-TensorRT 2.11 to 2.13.
        release: Release that wrote it.
        requested: Value of ``torch_executed_ops``.
        least: Value of ``min_block_size``.

    Raises:
        InternalError: The text is no such report.
    """
    totals = _TOTALS.search(text)
    if totals is None:
        raise InternalError(
            "the dry run's report",
            f"another text from Torch-TensorRT {release}",
            "install the release of Torch-TensorRT that compress asks for",
        )
    listed = _UNSUPPORTED.search(text)
    unsupported = {name: int(count) for name, count in _COUNTED.findall(listed[1] if listed else "")}
    return Partition(
        operators=int(totals[1]),
        supported=int(totals[2]),
        engines=tuple(int(count) for count in _ENGINE.findall(text)),
        in_torch=tuple(_left(Counter(_IN_TORCH.findall(text)), unsupported, requested, least)),
        release=release,
    )


def _left(
    stay: Mapping[str, int], unsupported: Mapping[str, int], requested: tuple[str, ...], least: int
) -> Iterator[Left]:
    for operator in sorted({*stay, *unsupported} - {_GETITEM}):
        without = unsupported.get(operator, 0)
        if without:
            named = operator in requested
            yield Left(
                operator, without, "torch_executed_ops names it" if named else "it has no converter for it"
            )
        beyond = stay.get(operator, 0) - without
        if beyond > 0:
            yield Left(operator, beyond, f"fewer than min_block_size = {least} operators lie together there")


def _default(module: Any, name: str) -> Any:
    import inspect

    return inspect.signature(module.dynamo.compile).parameters[name].default
