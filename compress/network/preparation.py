"""Preparation of a network before any technique, checked against the original network.

A graph is raised to a newer opset, made float32, folded and written for a target before anything is compared with it.
It is called the original only after it has computed, on samples of the user's, what the user's own file does, run as it
is with all of the runtime's optimizations off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from compress.core.tensor_spec import fixed_batch, take_samples
from compress.errors import NetworkError

if TYPE_CHECKING:
    import onnx
    import onnxruntime

    from compress.data.split import Array
    from compress.data.task import Task
    from compress.network.network import Network

#: Samples that are run, where the network takes any number.
SAMPLES = 4

#: Largest difference that is rounding, as a share of the output's largest value: in float32, and in half precision.
_ROUNDING, _HALF_ROUNDING = 1e-3, 3e-2

#: Share of integers that rounding may change, of values that were rounded or compared.
_FLIPPED = 1e-3

#: How much inputs are changed to see what a network makes of rounding, and how many times that a difference may be.
_NUDGE, _HALF_NUDGE, _NUDGES = 1e-6, 1e-3, 30.0


def prepared_faithfully(network: Network, task: Task) -> Network:
    """Return a network whose prepared graph computes the same as the original network.

    Args:
        network: Network as it was loaded.
        task: Task with its data, bound to its inputs.

    Returns:
        The network; where folding it, or widening half precision, changes its results, one with the graph unchanged.

    Raises:
        NetworkError: A newer opset alone changes its results; the first operator that differs is named.
    """
    from compress.onnx_graph.fold import as_written, prepare
    from compress.onnx_graph.quantized import quantized_operator

    original = AsItCame(network, task)
    if not original.runs or quantized_operator(network.to_onnx()) is not None:
        return network
    if original.difference(prepare(network.to_onnx())) is None:
        return network
    for model in _as_it_came(network):
        unprepared = as_written(model)
        obstacle = original.difference(prepare(unprepared))
        if obstacle is None:
            return network.continued(unprepared)
    raise NetworkError(
        "a network that computes the same in a newer opset",
        original.culprit(prepare(unprepared)) or obstacle or "another one",
        "export it again, with a newer opset",
    )


def check_faithful(network: Network, model: onnx.ModelProto, task: Task, what: str) -> None:
    """Refuse a graph that should serve as the original and computes other results.

    Args:
        network: Network as it was loaded.
        model: Model that was made of it.
        task: Task with its data, bound to its inputs.
        what: Name of the model, for the message.

    Raises:
        NetworkError: An output differs by more than rounding.
    """
    original = AsItCame(network, task)
    obstacle = original.difference(model) if original.runs else None
    if obstacle is not None:
        raise NetworkError(
            f"{what} that computes what the network does",
            original.culprit(model) or obstacle,
            "export the network again with another opset",
        )


class AsItCame:
    """The user's original network, run on a few of the user's samples.

    Args:
        network: Network as it was loaded; an ONNX file is read again.
        task: Task with its data, bound to its inputs.

    Attributes:
        runs: Whether it runs on them at all; if not, its next use reports why.
    """

    def __init__(self, network: Network, task: Task) -> None:
        self._network = network
        self._names = [spec.name for spec in network.outputs]
        self._feeds = dict(task.example(fixed_batch(network.inputs) or SAMPLES))
        self.runs = True
        try:
            self.outputs = outputs_as_it_came(network, self._feeds)
        except Exception:  # noqa: BLE001 - ONNX Runtime's own classes have no common root but this
            self.runs = False
            return
        self._half = _in_half(network)

    def difference(self, model: onnx.ModelProto) -> str | None:
        """Describe how another graph's results differ; None for rounding alone."""
        from compress.onnx_graph.sessions import open_session

        try:
            outputs = open_session(model, optimized=False).run(self._names, self._feeds)
        except Exception as error:  # noqa: BLE001 - as above
            return str(error).strip().splitlines()[0][:200]
        strange = [
            at for at, pair in enumerate(zip(self.outputs, outputs, strict=True)) if not self._same(*pair)
        ]
        if not strange:
            return None
        nudged = outputs_as_it_came(self._network, self._nudged())
        for at in strange:
            if not self._same(self.outputs[at], outputs[at], nudged[at]):
                share = _distance(self.outputs[at], outputs[at])
                return f"output '{self._names[at]}' off by {share:.2%} of its largest value"
        return None

    def culprit(self, model: onnx.ModelProto) -> str | None:
        """Return the first operator of the file whose result differs in another graph; None where none is found."""
        from compress.onnx_graph.graph import Graph, subgraphs

        path = Path(self._network.origin.path)
        if self._network.origin.format != "onnx" or not path.is_file():
            return None
        import onnx

        graph, other = Graph(onnx.load(str(path))), Graph(model)
        shared = [
            name
            for name in graph.positions
            if name in other.positions and not any(subgraphs(graph.producers[name]))
        ]
        try:
            pairs = zip(shared, self._inside(graph, shared), self._inside(other, shared), strict=True)
            for name, one, two in pairs:
                if not self._same(one, two):
                    node = graph.producers[name]
                    label = node.name or name
                    return f"another result of {node.op_type} '{label}' of opset {graph.opset}"
        except Exception:  # noqa: BLE001 - as above
            return None
        return None

    def _inside(self, graph: Any, names: Sequence[str]) -> list[Array]:
        from compress.onnx_graph.sessions import open_session, part

        piece = part(graph, names)
        input_names = {value.name for value in piece.graph.input}
        session = open_session(piece, optimized=False)
        values: list[Array] = session.run(
            list(names), {name: array for name, array in self._feeds.items() if name in input_names}
        )
        return values

    def _nudged(self) -> dict[str, Array]:
        """Return the samples with negligible changes of the floats."""
        random = np.random.default_rng(0)
        size = _HALF_NUDGE if self._half else _NUDGE
        return {
            name: (array * (1 + size * random.standard_normal(array.shape))).astype(array.dtype)
            if array.dtype.kind == "f"
            else array
            for name, array in self._feeds.items()
        }

    def _same(self, ours: Array, theirs: Array, nudged: Array | None = None) -> bool:
        """Whether two outputs are equal but for rounding, as the network is seen to amplify it."""
        if nudged is not None and nudged.shape != ours.shape:
            return True  # how many results there are hangs on rounding
        if theirs.shape != ours.shape:
            return False
        if ours.dtype.kind not in "fc":
            allowed = _FLIPPED if nudged is None else max(_FLIPPED, _NUDGES * _flipped(ours, nudged))
            return _flipped(ours, theirs) <= allowed
        half = self._half or ours.dtype == np.float16
        finite = np.isfinite(ours) & np.isfinite(theirs)
        # What half precision cannot hold is a number in float32.
        if not half and not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True):
            return nudged is not None and bool((~np.isfinite(nudged)).sum() != (~np.isfinite(ours)).sum())
        allowed = _HALF_ROUNDING if half else _ROUNDING
        if nudged is not None:
            allowed = max(allowed, _NUDGES * _distance(ours, nudged))
        return _distance(ours, theirs) <= allowed


def outputs_as_it_came(network: Network, feeds: Mapping[str, Array]) -> list[Array]:
    """Return the original network's outputs for a batch: of its graph in its precision, or of the user's file.

    Raises:
        NetworkError: The file does not run on the batch.
    """
    if network.graph is not None:
        import torch

        from compress.network.onnx_export import in_eval_mode

        tensors = [torch.from_numpy(feeds[spec.name]) for spec in network.inputs]
        if network.half is not None:
            return [tensor.numpy() for tensor in network.half.run(*tensors)]
        with in_eval_mode(network.graph), torch.no_grad():
            result = network.graph(*tensors)
        return [tensor.numpy() for tensor in (result if isinstance(result, tuple | list) else (result,))]
    import onnxruntime

    from compress.onnx_graph.sessions import open_session

    path = Path(network.origin.path)
    if network.origin.format == "onnx" and path.is_file():
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    else:
        session = open_session(network.to_onnx(), optimized=False)
    try:
        outputs = _run(session, network, feeds)
    except Exception as error:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
        raise NetworkError(
            f"a network that runs on samples of the data ({shapes})",
            str(error).split("Status Message: ")[-1].strip().splitlines()[0][:300],
            "check the data's shapes, or export the network again",
        ) from error
    return outputs


def _run(session: onnxruntime.InferenceSession, network: Network, feeds: Mapping[str, Array]) -> list[Array]:
    """Run all samples at once, or one after the other where the file declares one and was opened for any number."""
    names = [spec.name for spec in network.outputs]
    declared = {value.name: value.shape for value in session.get_inputs()}
    if network.rearranged:
        outputs = session.run(names, {name: array[0] for name, array in feeds.items()})
        return [output[None] for output in outputs]  # the file takes one sample without an axis for it
    counted = {
        spec.name: declared[spec.name][spec.batch_axis] for spec in network.inputs if spec.dynamic_batch
    }
    if 1 not in counted.values():
        all_outputs: list[Array] = session.run(names, dict(feeds))
        return all_outputs
    axes = {spec.name: spec.batch_axis for spec in network.inputs}
    size = next(feeds[name].shape[axes[name]] for name in counted)
    parts = [
        session.run(
            names,
            {name: take_samples(array, slice(row, row + 1), axes[name]) for name, array in feeds.items()},
        )
        for row in range(size)
    ]
    return [
        np.concatenate([part[index] for part in parts], axis=spec.batch_axis)
        for index, spec in enumerate(network.outputs)
    ]


def _as_it_came(network: Network) -> Iterator[onnx.ModelProto]:
    """Return the graph as it was loaded, and the file's own, whose precision loading may have changed."""
    yield network.to_onnx()
    path = Path(network.origin.path)
    if network.origin.format == "onnx" and path.is_file():
        from compress.network.formats.onnx_file import read_onnx

        yield read_onnx(path)


def _in_half(network: Network) -> bool:
    """Whether the network as it came computes in half precision somewhere."""
    if network.graph is not None:
        kinds = {str(value.dtype) for value in network.graph.state_dict().values()}
        return network.half is not None or bool(kinds & {"torch.float16", "torch.bfloat16"})
    import onnx

    from compress.onnx_graph.widening import is_half

    path = Path(network.origin.path)
    from_file = network.origin.format == "onnx" and path.is_file()
    return is_half(onnx.load(str(path), load_external_data=False) if from_file else network.to_onnx())


def _distance(ours: Array, theirs: Array) -> float:
    """Return the largest difference of finite values, as a share of the largest wanted one."""
    if ours.shape != theirs.shape:
        return float("inf")
    one, other = ours.astype(np.float64), theirs.astype(np.float64)
    finite = np.isfinite(one) & np.isfinite(other)
    if not finite.any():
        return 0.0
    largest = float(np.abs(one[finite]).max())
    furthest = float(np.abs(one[finite] - other[finite]).max())
    return 0.0 if furthest == 0 else furthest / max(largest, float(np.finfo(np.float32).tiny))


def _flipped(ours: Array, theirs: Array) -> float:
    """Return the share of values that differ."""
    return float(np.mean(ours != theirs)) if ours.size else 0.0
