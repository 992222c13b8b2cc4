"""An ONNX graph as a program for Torch-TensorRT: exported, compiled, kept on disk, and run.

Everything here imports torch, inside of functions. A compiled program is kept where this user alone writes, because
loading one unpickles what Torch-TensorRT stored beside the engine; a bundle never carries one.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.backends.torch_tensorrt_arguments import check_arguments
from compress.core.installation import install_command
from compress.core.places import cache_directory
from compress.core.tensor_spec import TensorSpec
from compress.errors import BundleError, LiftError, NetworkError, UnavailableError, UsageError

if TYPE_CHECKING:
    import onnx
    import torch

    from compress.backends.torch_tensorrt import TorchTensorRtOptions

#: Arguments of ``dynamo.compile`` that follow from the session's own settings.
_OURS = (
    "inputs",
    "arg_inputs",
    "kwarg_inputs",
    "device",
    "dryrun",
    "enable_autocast",
    "autocast_low_precision_type",
)

#: Where programs run; tests that stand in for the package run them elsewhere.
DEVICE = "cuda"


def package() -> Any:
    """Import and return the module ``torch_tensorrt``.

    Raises:
        UnavailableError: Torch-TensorRT is not installed, or TensorRT's libraries are not found.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # It prints what it misses before it raises.
            import torch_tensorrt
    except Exception as error:  # Its __init__ raises a bare Exception where libnvinfer cannot be loaded.
        raise UnavailableError(
            "Torch-TensorRT",
            f"it cannot be imported: {type(error).__name__}: {error}",
            f"{install_command('torch-tensorrt')} on a machine with an NVIDIA GPU",
        ) from error
    return torch_tensorrt


def read_graph(path: Path) -> tuple[onnx.ModelProto, tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Read an artifact's graph with its inputs and outputs.

    Raises:
        BundleError: The file is damaged.
        LiftError: The graph has an operator that ONNX does not know.
    """
    from compress.network.formats.onnx_file import read_onnx, read_specs

    try:
        model = read_onnx(path)
        return model, *read_specs(model)
    except LiftError:  # The file is whole; an operator in it is unknown.
        raise
    except NetworkError as error:
        raise BundleError("a readable ONNX graph", f"{path.name}: {error.found}", "build it again") from error


def exported(
    model: onnx.ModelProto, inputs: Sequence[TensorSpec], batch: int, device: str = "cpu"
) -> tuple[torch.export.ExportedProgram, tuple[torch.Tensor, ...]]:
    """Export the graph as a program of one batch size; return it with the sample it was exported with.

    It is run once in PyTorch, operator by operator, and recorded: what depends on shapes alone becomes constant.

    Args:
        model: Folded graph in floats.
        inputs: Inputs of the graph.
        batch: Number of samples, where it is open.
        device: Device that the program runs on.

    Raises:
        NetworkError: An operator cannot be run in PyTorch; it is named.
    """
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    from compress.onnx_module.module import OnnxModule

    sample = tuple(
        torch.zeros(
            [int(size) for size in spec.with_batch(batch)], dtype=getattr(torch, spec.dtype), device=device
        )
        for spec in inputs
    )
    try:
        module = OnnxModule(model).eval().to(device)
        with torch.no_grad():
            # A GRU's own splits have no converter, their twins have; each would end an engine.
            splits = {torch.ops.aten.unsafe_split.Tensor: torch.ops.aten.split.Tensor}
            traced = make_fx(module, decomposition_table=splits)(*sample)
            return torch.export.export(traced, sample, strict=False), sample
    except NetworkError as error:  # OnnxModule tells what cannot be trained; here it is to be run.
        raise NetworkError(
            "operators that Torch-TensorRT is given as PyTorch's", error.found, "use the back end tensorrt"
        ) from error
    except Exception as error:
        raise NetworkError(
            "a graph that PyTorch exports",
            f"{type(error).__name__}: {error}"[:400],
            "use the back end tensorrt",
        ) from error


def compile_arguments(settings: TorchTensorRtOptions) -> dict[str, Any]:
    """Return the keyword arguments of ``torch_tensorrt.dynamo.compile`` for a session's settings, checked.

    Args:
        settings: Session options of the build.

    Raises:
        UsageError: The installed release does not know an argument, or the user may not set it.
        UnavailableError: There is no Torch-TensorRT.
    """
    import torch

    module = package()
    further = dict(settings.arguments)
    for name in further:
        if name in _OURS:
            raise UsageError("an argument besides those that the session sets", f"'{name}'", "remove it")
    half = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(settings.precision)
    cast = {} if half is None else {"enable_autocast": True, "autocast_low_precision_type": half}
    arguments = {**cast, **further}
    settings_type = module.dynamo.CompilationSettings
    check_arguments(arguments, module.dynamo.compile, settings_type, module.__version__)
    check_arguments(("arg_inputs",), module.dynamo.compile, None, module.__version__)
    return arguments


def compiled(
    model: onnx.ModelProto,
    inputs: Sequence[TensorSpec],
    batch: int,
    sha256: str,
    settings: TorchTensorRtOptions,
) -> Callable[..., Any]:
    """Return a program with TensorRT engines for one batch size, built or found in the cache.

    Args:
        model: The artifact's graph.
        inputs: Inputs of the graph.
        batch: Number of samples.
        sha256: sha256 of the artifact.
        settings: Settings of its session.

    Raises:
        NetworkError: TensorRT cannot build the graph.
        UsageError: See :func:`compile_arguments`.
    """
    arguments = compile_arguments(settings)
    path = cache_directory() / "torch-tensorrt" / f"{_key(sha256, batch, settings)}.pt2"
    loaded = _load(path)
    if loaded is not None:
        return loaded
    module = package()
    program, sample = exported(model, inputs, batch, DEVICE)
    try:
        built = module.dynamo.compile(program, arg_inputs=list(sample), **arguments)
    except Exception as error:
        raise NetworkError(
            f"a graph that Torch-TensorRT {module.__version__} compiles",
            f"{type(error).__name__}: {error}"[:400],
            "run `compress lint --backend torch-tensorrt`, or use the back end tensorrt",
        ) from error
    save(built, path, sample)
    return built  # type: ignore[no-any-return]


def save(built: Any, path: Path, sample: Sequence[torch.Tensor]) -> None:
    """Write a compiled program with its engines, whole or not at all.

    Args:
        built: Program that ``torch_tensorrt.dynamo.compile`` returned.
        path: File to write, which :func:`load` reads on the same GPU with the same releases.
        sample: Sample that it was compiled with.
    """
    module = package()
    arguments = {"output_format": "exported_program", "arg_inputs": list(sample)}
    check_arguments(arguments, module.save, None, module.__version__)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        module.save(built, str(temporary), **arguments)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def load(path: Path) -> Callable[..., Any]:
    """Load a program that :func:`save` wrote; this runs code of the file, which must be the user's own.

    Raises:
        BundleError: The file cannot be loaded.
    """
    module = package()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            program: Callable[..., Any] = module.load(str(path)).module()
    except Exception as error:
        reason = f"{path.name}: {type(error).__name__}: {error}"[:400]
        raise BundleError("a compiled program", reason, "build it again") from error
    return program


def answers(
    program: Callable[..., Any], arrays: Sequence[np.ndarray[Any, Any]]
) -> list[np.ndarray[Any, Any]]:
    """Run a program on a batch, from host to host; the copy back waits until the GPU is done."""
    import torch

    with torch.no_grad():
        tensors = [torch.from_numpy(np.array(array, order="C")).to(DEVICE) for array in arrays]
        result = program(*tensors)
    results = result if isinstance(result, tuple | list) else (result,)
    return [result.cpu().numpy() for result in results]


def _load(path: Path) -> Callable[..., Any] | None:
    """Load a program from the cache; None where it is missing, damaged, or of another user."""
    try:
        if path.stat().st_uid != os.getuid():
            return None
    except FileNotFoundError:
        return None
    try:
        return load(path)
    except BundleError:
        return None


def _key(sha256: str, batch: int, settings: TorchTensorRtOptions) -> str:
    """Return a key of everything an engine depends on: graph, batch, settings, releases and GPU."""
    import torch

    from compress.core.versions import versions

    releases = {
        name: release for name, release in versions().items() if "torch" in name or "tensorrt" in name
    }
    gpu: tuple[str | int, ...] = ()
    if torch.cuda.is_available() and DEVICE == "cuda":
        gpu = (torch.cuda.get_device_name(), *torch.cuda.get_device_capability())
    options = {name: value for name, value in settings.to_dict().items() if name != "batch_sizes"}
    identity = json.dumps([sha256, batch, options, releases, gpu], sort_keys=True, default=str)
    return hashlib.sha256(identity.encode()).hexdigest()[:32]
