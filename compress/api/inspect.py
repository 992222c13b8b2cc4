"""``compress.inspect``: the layers of a network, and what bounds each one's time on a target."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from compress.api.build_options import InspectOptions
from compress.api.keywords import InspectKeywords
from compress.api.opened_model import given_shapes, input_shapes, open_model
from compress.core.options import takes

if TYPE_CHECKING:
    from compress.core.tensor_spec import TensorSpec
    from compress.onnx_graph.layers import Layer, Totals
    from compress.profiling.roofline import Estimate


@dataclass(frozen=True)
class InspectResult:
    """Layers of a network, with what they hold and compute.

    Attributes:
        model: Path, as it was given.
        format: Format of the file: ``onnx``, ``pt2``, ``torchscript``, ``state_dict``, ``pickle``, ``hugging_face``, or
            ``bundle``.
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
        content: dict[str, Any] = {
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
            shares = [share.record().to_dict() for share in self.estimate.layers]
            content["estimate"] = self.estimate.to_dict() | {"layers": shares}
        return content


@takes(InspectOptions)
def inspect(model: str | os.PathLike[str], **options: Unpack[InspectKeywords]) -> InspectResult:
    """Look at the layers of a network: shapes, parameters, MACs, bytes and precision.

        found = compress.inspect("model.onnx", target="jetson-orin-nano-super")
        print(found.totals.macs, found.estimate.total_ms)

    Args:
        model: A network's file, as for :func:`compress.optimize`, or a bundle's directory.

    Raises:
        NetworkError: The file cannot be used, or has no use for an option that says how it is read.
        BundleError: The directory is no bundle, or a damaged one.
        TargetError: The target is unknown.
        UsageError: An option is out of its range, there are more shapes than inputs, or the batch size is fixed to
            another one.
    """
    from compress.onnx_graph.layers import layers, totals
    from compress.onnx_graph.legality import refuse_illegal
    from compress.onnx_graph.shapes import input_specs, output_specs
    from compress.profiling.roofline import estimate
    from compress.target.target import load_target

    request = InspectOptions.of(options)
    deployment = None if request.target is None else load_target(request.target)
    inputs = input_shapes(request.shape)
    opened = open_model(Path(model), inputs, request)
    refuse_illegal(opened.model)
    size, shapes = given_shapes(opened.model, inputs, request.batch)
    layer_list = layers(opened.model, size, shapes)
    return InspectResult(
        opened.path,
        opened.format,
        opened.sha256,
        tuple(input_specs(opened.model)),
        tuple(output_specs(opened.model)),
        size,
        tuple(layer_list),
        totals(layer_list),
        None if deployment is None else estimate(layer_list, deployment, size),
        opened.note,
    )
