"""The network under compression: its graph, its inputs and outputs, and its origin."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from compress.core.tensor_spec import TensorSpec, take_samples
from compress.errors import NetworkError
from compress.network.formats.detection import Sniffed, sniff
from compress.network.formats.unused_options import refuse_unused
from compress.network.hashes import sha256_of_file, sha256_of_graph, sha256_of_state

if TYPE_CHECKING:
    import onnx
    import torch

    from compress.network.call_form import CallForm
    from compress.network.lifting.widening import Half
    from compress.network.tracing import Traced

# A state dict may come in other containers, and in several files.
_ORIGINS = {"safetensors": "state_dict", "shards": "state_dict"}

# Files that hold one network with one set of weights, in words.
_WHOLE = {
    "pt2": "a torch.export file",
    "torchscript": "a TorchScript file",
    "onnx": "an ONNX file",
    "hugging_face": "a Hugging Face directory",
}

#: Format of the origin of a language model, which :mod:`compress.language` loads.
DECODER = "decoder"

#: Format of an encoder–decoder of text, both parts in one graph.
ENCODER_DECODER = "encoder_decoder"

#: Formats of networks that generate text.
GENERATIVE = (DECODER, ENCODER_DECODER)

#: One batch of inputs: arrays with a leading batch axis, by input name or in order.
Example = Mapping[str, np.ndarray] | Sequence[np.ndarray]


@dataclass(frozen=True)
class Origin:
    """Origin of a network, for the manifest.

    Attributes:
        path: Path as the user wrote it, or the class name of a live module.
        format: Format of the file: ``pt2``, ``torchscript``, ``state_dict``, ``pickle``, ``module``, ``onnx``,
            ``hugging_face``, or ``decoder`` for a language model.
        sha256: sha256 of the file's bytes, of an index with those of its shards, of a directory's settings and weights,
            or of a live module's parameters and buffers (names, dtypes, shapes, bytes).
        weights: Keys of the sets of weights in a checkpoint that fit the network, the one that was taken first; empty
            where there is one, or none is chosen.
    """

    path: str
    format: str
    sha256: str
    weights: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name in trends: the file's name without its ending, that of a directory, or the class of a live module."""
        if self.format == "module":
            return self.path
        path = Path(self.path)
        of_directory = self.format in (*GENERATIVE, "hugging_face") and path.suffix != ".gguf"
        return path.name if of_directory else path.stem


class Network:
    """A network in one of two forms: a trainable graph, or an ONNX model.

    Attributes:
        inputs: Inputs of the network, in order; axis 0 is ``batch`` where it is dynamic.
        outputs: Outputs of the network, in order.
        origin: Origin of the network.
        graph: Lifted graph; None where the network is an ONNX model.
        form: Form in which it is called and returns, for a file that is written of its graph; None where unknown.
        half: Original network in half precision that its graph was made of; None for another precision.
        rearranged: Whether its inputs have an axis more than those of the user's network, which counts samples.
        companions: Texts that are shipped beside every build of it, by their file's name: a tokenizer, for example.
    """

    def __init__(
        self,
        *,
        inputs: tuple[TensorSpec, ...],
        outputs: tuple[TensorSpec, ...],
        origin: Origin,
        graph: torch.fx.GraphModule | None = None,
        model: onnx.ModelProto | None = None,
        sample: tuple[np.ndarray, ...] = (),
        form: CallForm | None = None,
        half: Half | None = None,
        rearranged: bool = False,
        companions: Mapping[str, str] | None = None,
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.origin = origin
        self.graph = graph
        self.form = form
        self.half = half
        self.rearranged = rearranged
        self.companions = dict(companions or {})
        self._model = model
        self._sample = sample
        self._exported: tuple[str, onnx.ModelProto] | None = None

    @property
    def trainable(self) -> bool:
        """Whether there is a graph to train."""
        return self.graph is not None

    def untrainable(self, use: str) -> NetworkError:
        """Return the error that there is no graph to train.

        Args:
            use: Use that needs one, for the message: "which cannot be pruned".
        """
        if self.origin.format == ENCODER_DECODER:
            kind_of_network, todo = "an encoder–decoder", "compress optimize rounds its weights"
        elif self.origin.format == DECODER:
            kind_of_network, todo = (
                "a language model",
                "compress optimize, prune and distill take its directory",
            )
        else:
            kind_of_network, todo = "an ONNX model", "give the torch file"
        return NetworkError("a torch network", f"{self.origin.path}, {kind_of_network}, {use}", todo)

    @property
    def identity(self) -> str:
        """Hash of the network as read: of a graph its calls, layer settings and weights; of ONNX the file.

        Two networks with equal weights but different computations differ in it.
        """
        return self.origin.sha256 if self.graph is None else sha256_of_graph(self.graph)

    @property
    def sample(self) -> tuple[np.ndarray, ...]:
        """One batch of every input of the graph, two rows where the batch is dynamic; empty for an ONNX model."""
        return self._sample

    def to_onnx(self) -> onnx.ModelProto:
        """Return the network as an ONNX model: its own, or the export of its present graph.

        Raises:
            NetworkError: An operator of the graph has no ONNX form.
            InternalError: The export does not compute what the graph computes.
        """
        if self.graph is None:
            assert self._model is not None
            return self._model
        from compress.network.onnx_export import export_onnx

        state = sha256_of_state(self.graph)
        if self._exported is None or self._exported[0] != state:
            self._exported = (state, export_onnx(self.graph, self.inputs, self.outputs, self._sample))
        return self._exported[1]

    def with_onnx(self, model: onnx.ModelProto) -> Network:
        """Return the network continued as an ONNX model, no longer trainable."""
        return Network(
            inputs=self.inputs,
            outputs=self.outputs,
            origin=self.origin,
            model=model,
            rearranged=self.rearranged,
            companions=self.companions,
        )

    def described_by(self, model: onnx.ModelProto) -> Network:
        """Return the ONNX model with another description of its inputs and outputs."""
        from compress.network.formats.onnx_file import read_specs

        inputs, outputs = read_specs(model)
        moved = any(len(one.shape) != len(two.shape) for one, two in zip(inputs, self.inputs, strict=True))
        return Network(
            inputs=inputs,
            outputs=outputs,
            origin=self.origin,
            model=model,
            rearranged=self.rearranged or moved,
            companions=self.companions,
        )

    def continued(self, model: onnx.ModelProto) -> Network:
        """Return the network with this ONNX model from now on; a graph stays trainable."""
        if self.graph is None:
            return self.with_onnx(model)
        self._exported = (sha256_of_state(self.graph), model)
        return self

    def with_graph(self, graph: torch.fx.GraphModule) -> Network:
        """Return the network continued as another graph."""
        return Network(
            inputs=self.inputs,
            outputs=self.outputs,
            origin=self.origin,
            graph=graph,
            sample=self._sample,
            form=self.form,
            half=self.half,
            rearranged=self.rearranged,
        )


def load_network(
    source: str | Path | torch.nn.Module,
    *,
    example: Example | None = None,
    other: Example | None = None,
    factory: str | None = None,
    trust_pickle: bool = False,
    weights: str | None = None,
    batch_axis: Mapping[str, int] | None = None,
) -> Network:
    """Load a trained network; a file's content tells its format.

    Args:
        source: Network to load: a file (torch.export, TorchScript, state dict, pickled module, ONNX), a Hugging Face
            directory, or a live module, which is never modified.
        example: Samples of real inputs along axis 0, by name or in order (≥ 2 where possible), whichever axis the
            network takes them along. Needed by every format that does not say what the network takes.
        other: Samples of another height, width or length than the example; the axes in which they differ are open where
            the network allows it. None where all samples are of one shape.
        factory: ``package.module:callable`` that builds the module a state dict belongs to.
        trust_pickle: Whether to let a pickle in the file run code while it loads.
        weights: Set of weights to take where a checkpoint holds several: ``ema`` for averaged ones, ``model`` for
            others, or the key they lie under. None takes those under the most usual key.
        batch_axis: Axis of an input that counts samples, by the input's name; ``""`` names that of all others. None
            finds the axes by running two samples alone and together (:mod:`compress.network.sample_axis`). An ONNX
            file states its axes.

    Raises:
        NetworkError: The file or the module cannot be used, or has no use for one of the options.
        UntrustedFileError: Loading would run code that the file carries.
        LiftError: An operator or a control flow that cannot be lifted.
        DataError: The example does not fit the network.
    """
    if not isinstance(source, str | Path):
        refuse_unused("a live module", factory=factory, weights=weights)
        return _from_module(source, example, other, batch_axis)
    file = sniff(Path(source))
    if file.format in _WHOLE:
        stated = batch_axis if file.format == "onnx" else None
        refuse_unused(f"{source}, {_WHOLE[file.format]}", factory=factory, weights=weights, batch_axis=stated)
    origin = Origin(str(source), _ORIGINS.get(file.format, file.format), sha256_of_file(file))
    if file.format == "onnx":
        return _from_onnx(file.path, origin)
    traced, sets = _trace_file(
        file,
        example,
        other,
        factory=factory,
        trust_pickle=trust_pickle,
        weights=weights,
        batch_axis=batch_axis,
    )
    return _lifted(traced, replace(origin, weights=sets if len(sets) > 1 else ()))


def _from_module(
    module: torch.nn.Module,
    example: Example | None,
    other: Example | None,
    batch_axis: Mapping[str, int] | None,
) -> Network:
    import torch

    from compress.network.tracing import check_finite, trace_module

    if not isinstance(module, torch.nn.Module):
        raise NetworkError("a path or a torch.nn.Module", f"a {type(module).__name__}", "give one of them")
    module = _unwrapped(module)
    name = type(module).__qualname__
    check_finite(module, name)
    origin = Origin(name, "module", sha256_of_state(module))
    copied = _copy(module)
    if isinstance(copied, torch.jit.ScriptModule):
        from compress.network.formats.torchscript import trace_torchscript

        return _lifted(trace_torchscript(copied.eval(), _needed(example), batch_axis, other), origin)
    return _lifted(trace_module(copied, _needed(example), batch_axis, other), origin)


def _unwrapped(module: torch.nn.Module) -> torch.nn.Module:
    """Return the module inside torch.compile, DataParallel, DistributedDataParallel or an average of weights."""
    import torch
    from torch.optim.swa_utils import AveragedModel

    wrappers = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel, AveragedModel)
    while True:
        inner = module.module if isinstance(module, wrappers) else getattr(module, "_orig_mod", module)
        if inner is module:
            return module
        module = inner


def _copy(module: torch.nn.Module) -> torch.nn.Module:
    """Copy the caller's module, which stays unchanged."""
    from compress.network.tracing import detached_copies

    try:
        with detached_copies():
            return copy.deepcopy(module)
    except Exception as error:
        raise NetworkError(
            "a module that can be copied",
            f"{type(module).__qualname__}: {type(error).__name__}: {error}",
            "give its state dict as a file, with the factory that builds it",
        ) from error


def _trace_file(
    file: Sniffed,
    example: Example | None,
    other: Example | None,
    *,
    factory: str | None,
    trust_pickle: bool,
    weights: str | None,
    batch_axis: Mapping[str, int] | None,
) -> tuple[Traced, tuple[str, ...]]:
    """Trace the network of a file other than ONNX; with the sets of weights in the file, the one taken first."""
    if file.format in ("pt2", "torchscript") and not trust_pickle:
        from compress.network.formats.first_reading import read_elsewhere

        kind: Literal["pt2", "torchscript"] = "pt2" if file.format == "pt2" else "torchscript"
        read_elsewhere(file.path, kind, example=_arrays(example), batch_axis=batch_axis)
    from compress.network.tracing import check_finite, trace_module

    if file.format == "pt2":
        from compress.network.formats.pt2 import read_pt2, trace_pt2

        program = read_pt2(file.path, trust_pickle=trust_pickle)
        return trace_pt2(program, file.path, example, batch_axis), ()
    if file.format == "torchscript":
        from compress.network.formats.torchscript import read_torchscript, trace_torchscript

        script = read_torchscript(file.path, trust_pickle=trust_pickle)
        check_finite(script, str(file.path))
        return trace_torchscript(script, _needed(example), batch_axis, other), ()
    if file.directory is not None:
        from compress.network.formats.pretrained import default_example, read_directory

        built = read_directory(file.directory, trust_pickle=trust_pickle)
        check_finite(built, str(file.path))
        samples = default_example(file.directory, built) if example is None else example
        return trace_module(built, samples, batch_axis, other), ()
    from compress.network.formats.checkpoint import read_checkpoint

    whole_module, sets = read_checkpoint(file, factory=factory, trust_pickle=trust_pickle, weights=weights)
    module = _unwrapped(whole_module)
    check_finite(module, str(file.path))
    return trace_module(module, _needed(example), batch_axis, other), sets


def _arrays(example: Example | None) -> Example | None:
    """Return the example as arrays; None where it is no example, which is reported when it is used."""
    if example is None:
        return None
    try:
        if isinstance(example, Mapping):
            return {str(name): np.asarray(array) for name, array in example.items()}
        return [np.asarray(array) for array in example]
    except (TypeError, ValueError):
        return None


def _needed(example: Example | None) -> Example:
    if example is None:
        raise NetworkError(
            "one batch of inputs to trace the network with",
            "none",
            "give data (--data), or a shape (--shape 1x3x32x32)",
        )
    return example


def _from_onnx(path: Path, origin: Origin) -> Network:
    from compress.network.formats.onnx_file import read_onnx, read_specs
    from compress.onnx_graph.widening import in_float32

    model = read_onnx(path)
    inputs, outputs = read_specs(model)
    return Network(inputs=inputs, outputs=outputs, origin=origin, model=in_float32(model))


def _lifted(traced: Traced, origin: Origin) -> Network:
    import torch

    from compress.network.lifting.graph import lift
    from compress.network.lifting.widening import in_float32

    lifted = lift(traced)
    tensors = [
        _as_many(tensor, spec) for spec, tensor in zip(lifted.inputs, traced.example.values(), strict=True)
    ]
    (graph, inputs, outputs), half = in_float32(lifted, tensors)
    if any(spec.dtype == "bfloat16" for spec in inputs):
        raise NetworkError("a network in float32", "inputs in bfloat16", "convert it: module.float()")
    arrays = [(tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy() for tensor in tensors]
    sample = tuple(
        (take_samples(array, slice(2), spec.batch_axis) if spec.dynamic_batch else array).copy()
        for spec, array in zip(inputs, arrays, strict=True)
    )
    return Network(
        inputs=inputs,
        outputs=outputs,
        origin=origin,
        graph=graph,
        sample=sample,
        form=traced.form,
        half=half,
        rearranged=traced.single,
    )


def _as_many(tensor: torch.Tensor, spec: TensorSpec) -> torch.Tensor:
    """Return as many samples as the network takes at a time, where it takes only one."""
    if spec.dynamic_batch or not spec.shape:
        return tensor
    return tensor.narrow(spec.batch_axis, 0, int(spec.shape[spec.batch_axis]))
