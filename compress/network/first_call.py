"""Inputs of a network while it is loaded, before it is known how it runs: samples of one call, with states."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from compress.core.suggestions import did_you_mean
from compress.core.tensor_spec import BATCH, TensorSpec
from compress.errors import CompressError, DataError, NetworkError, UsageError
from compress.network.formats.detection import sniff
from compress.network.state_pairs import check_pairs, likely_pairs
from compress.network.streams import first_frames

if TYPE_CHECKING:
    import torch

    from compress.backends.base import Session
    from compress.data.split import Array
    from compress.data.task import Task
    from compress.network.network import Network


class Opened:
    """A loaded network to run on streams, without the runtime's optimizations, which may change results.

    Args:
        network: Network as it was loaded.

    Attributes:
        inputs: Inputs of the network.
        outputs: Outputs of the network.
    """

    def __init__(self, network: Network) -> None:
        from compress.onnx_graph.sessions import open_session

        self.inputs, self.outputs = network.inputs, network.outputs
        self._names = [spec.name for spec in network.outputs]
        self._session = open_session(network.to_onnx(), optimized=False)

    def run(self, feeds: Mapping[str, Array]) -> list[Array]:
        """See :meth:`compress.network.states.Runs.run`.

        Raises:
            NetworkError: The network does not run on these inputs.
        """
        try:
            outputs: list[Array] = self._session.run(self._names, dict(feeds))
        except Exception as error:
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feeds.items())
            raise NetworkError(
                f"a network that runs on a frame of the data with its state ({shapes})",
                str(error).split("Status Message: ")[-1].strip().splitlines()[0][:300],
                "check the data's shapes, and --state",
            ) from error
        return outputs


def first_of_onnx(
    network: Network | Session, task: Task, state: Mapping[str, str] | None
) -> dict[str, Array]:
    """Return samples of one call ``(n, …)``, under the names of an ONNX file's inputs where a state is carried.

    Args:
        network: Network of the file, or of a build of it.
        task: Task with its data, not bound.
        state: States that the user names; see :func:`compress.api.inputs.load_bound`.

    Raises:
        DataError: An input has no data and may be a state; how to carry it is said.
        UsageError: A state is no input, or its next value no output.
    """
    states = state or {}
    check_pairs(states, network.inputs, network.outputs)
    arrays = first_frames(task, states, network.inputs) if states else task.example()
    names = [spec.name for spec in network.inputs if spec.name not in states]
    single = [name for name in arrays if name not in states]
    if states and len(names) == len(single) == 1:
        arrays = {names[0] if name == single[0] else name: array for name, array in arrays.items()}
    missing = [spec for spec in network.inputs if spec.name not in arrays]
    if len(arrays) == 1 and len(missing) == len(network.inputs):  # a single array may have any name
        missing = missing[1:]
    likely = likely_pairs(missing, [spec for spec in network.outputs if spec.name not in states.values()])
    if likely:
        raise DataError(
            f"data for the network's inputs: {', '.join(map(str, network.inputs))}",
            f"none for {', '.join(spec.name for spec in missing)}",
            "carry what is a state from call to call: "
            f"{' '.join(f'--state {name}={output}' for name, output in likely.items())}",
        )
    return arrays


def first_of_torch(
    load: Callable[..., Network], task: Task, state: Mapping[str, str], model: str | Path | torch.nn.Module
) -> dict[str, Array]:
    """Return samples of one call with a value for each state: the data's, or zeros of the state's size.

    Args:
        load: Function that loads the network on an example.
        task: Task with its data, not bound.
        state: States that the user names; see :func:`compress.api.inputs.load_bound`.
        model: Model to load.

    Raises:
        DataError: The size of a state is unknown.
        UsageError: A state is no input, or its next value no output.
    """
    arrays = first_frames(task, state)
    if state.keys() <= arrays.keys():
        return arrays
    if isinstance(model, str | Path) and sniff(Path(model)).format == "pt2":
        network = load()
        check_pairs(state, network.inputs, network.outputs)
        return first_frames(task, state, [_of_one_stream(spec) for spec in network.inputs])
    try:  # a module may begin with a state of its own where none is given
        outputs = {spec.name: spec for spec in load(example=arrays).outputs}
    except CompressError as error:
        missing = ", ".join(name for name in state if name not in arrays)
        raise DataError(
            f"the first value of the state {missing}, whose size the network's file does not tell",
            "none in the data",
            f"add it as '{next(name for name in state if name not in arrays)}', an array with a row for each stream; "
            "zeros will do",
        ) from error
    for name, output in state.items():
        if output not in outputs:
            todo = did_you_mean(output, outputs) or f"name one of: {', '.join(outputs)}"
            raise UsageError(f"the name of an output, for --state {name}=OUTPUT", f"'{output}'", todo)
    sizes = [replace(outputs[output], name=name) for name, output in state.items()]
    return first_frames(task, state, [_of_one_stream(spec) for spec in sizes])


def _of_one_stream(spec: TensorSpec) -> TensorSpec:
    """Return a state's spec with its first axis of size 1 named, where it holds one stream alone."""
    if any(isinstance(size, str) for size in spec.shape) or 1 not in spec.shape:
        return spec
    axis = spec.shape.index(1)
    return replace(spec, shape=(*spec.shape[:axis], BATCH, *spec.shape[axis + 1 :]))
