"""``compress.inspect``: the layers of a network, and what bounds each one's time on a target."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.api.opened_model import GivenInputs, given_shapes, input_shapes, open_model

if TYPE_CHECKING:
    from compress.core.tensor_spec import TensorSpec
    from compress.onnx_graph.layers import Layer, Totals
    from compress.profiling.roofline import Estimate


@dataclass(frozen=True)
class InspectResult:
    """Layers of a network, with what they hold and compute.

    Attributes:
        model: Path, as it was given.
        format: Format of the file: ``onnx``, ``pt2``, ``torchscript``, ``state_dict``, ``pickle``, or ``bundle``.
        sha256: sha256 of the file; for a bundle, of its artifact.
        inputs: Inputs of the network.
        outputs: Outputs of the network.
        batch: Batch size of all figures, in samples.
        layers: Layers in the order in which they run, operators grouped as an engine runs them.
        totals: Sums over the layers.
        estimate: Estimated time of each layer on the target, never a measurement; None without a target.
        note: Sentence on which of several sets of weights was taken; None where there is one.
    """

    model: str
    format: str
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batch: int
    layers: tuple[Layer, ...]
    totals: Totals
    estimate: Estimate | None = None
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold, as ``compress inspect --json`` prints it."""
        told: dict[str, Any] = {
            "model": self.model,
            "format": self.format,
            "sha256": self.sha256,
            "inputs": [spec.to_dict() for spec in self.inputs],
            "outputs": [spec.to_dict() for spec in self.outputs],
            "batch": self.batch,
            "totals": asdict(self.totals),
            "layers": [asdict(layer) for layer in self.layers],
        }
        if self.estimate is not None:
            shares = [share.to_dict() for share in self.estimate.layers]
            told["estimate"] = self.estimate.to_dict() | {"layers": shares}
        return told


def inspect(
    model: str | os.PathLike[str],
    *,
    target: str | None = None,
    batch: int | None = None,
    shape: GivenInputs = None,
    factory: str | None = None,
    trust_pickle: bool = False,
    weights: str | None = None,
    batch_axis: Mapping[str, int] | None = None,
) -> InspectResult:
    """Look at the layers of a network: shapes, parameters, MACs, bytes and precision.

        found = compress.inspect("model.onnx", target="jetson-orin-nano-super")
        print(found.totals.macs, found.estimate.total_ms)

    Args:
        model: A network's file, as for :func:`compress.optimize`, or a bundle's directory.
        target: Target by name or TOML file, to estimate each layer's time for; None makes no estimate.
        batch: Batch size, in samples, from 1; None takes the file's, or 1.
        shape: Sizes of every axis by the input's name, or of the only input, where the file does not state them.
        factory: ``module:callable`` that makes the network of a state dict; None where the file needs none.
        trust_pickle: Whether a pickle may be loaded, which can run any code.
        weights: Set of weights to take where a checkpoint holds several; see :func:`compress.load_network`.
        batch_axis: Axis that counts samples, by the input's name, or under ``""`` for all; None finds it.

    Raises:
        NetworkError: The file cannot be used.
        BundleError: The directory is no bundle, or a damaged one.
        TargetError: The target is unknown.
        UsageError: There are more shapes than inputs, or the batch size is fixed to another one.
    """
    from compress.onnx_graph.layers import layers, totals
    from compress.onnx_graph.legality import refuse_illegal
    from compress.onnx_graph.shapes import input_specs, output_specs
    from compress.profiling.roofline import estimate
    from compress.target.target import load_target

    deployment = None if target is None else load_target(target)
    inputs = input_shapes(shape)
    opened = open_model(
        Path(model),
        inputs,
        factory=factory,
        trust_pickle=trust_pickle,
        weights=weights,
        batch_axis=batch_axis,
    )
    refuse_illegal(opened.model)
    size, shapes = given_shapes(opened.model, inputs, batch)
    found = layers(opened.model, size, shapes)
    return InspectResult(
        opened.path,
        opened.format,
        opened.sha256,
        tuple(input_specs(opened.model)),
        tuple(output_specs(opened.model)),
        size,
        tuple(found),
        totals(found),
        None if deployment is None else estimate(found, deployment, size),
        opened.note,
    )
