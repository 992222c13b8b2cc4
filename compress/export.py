"""The lifted graph becomes an ONNX model that computes the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import onnx
import onnxruntime
import torch
from torch import fx, nn

from compress.errors import InternalError
from compress.tensors import BATCH, TensorSpec
from compress.trace import quiet

#: The newest operator set that every runtime in question reads.
OPSET = 20

_TOLERANCE = 1e-4


def export_onnx(
    graph: fx.GraphModule,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    sample: Sequence[np.ndarray],
    *,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """Export a lifted graph in inference mode.

    Args:
        graph: The lifted graph, or a technique's continuation of it. Its mode stays as it is.
        inputs: Names and shapes of the inputs; the batch axis is dynamic where theirs is.
        outputs: Names of the outputs, in order.
        sample: One small batch for every input.
        opset: The ONNX operator set.

    Raises:
        NetworkError: An operator has no ONNX form.
        InternalError: The ONNX model does not compute what the graph computes.
    """
    arguments = tuple(torch.from_numpy(array) for array in sample)
    shapes = tuple({0: BATCH} if spec.dynamic_batch else None for spec in inputs)
    with in_eval_mode(graph), quiet():
        program = torch.onnx.export(
            graph,
            arguments,
            input_names=[spec.name for spec in inputs],
            output_names=[spec.name for spec in outputs],
            dynamic_shapes=shapes if any(shapes) else None,
            opset_version=opset,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        assert program is not None
        model: onnx.ModelProto = program.model_proto
        with torch.no_grad():
            expected = graph(*arguments)
    onnx.checker.check_model(model)
    _verify(model, inputs, sample, expected)
    return model


def _verify(
    model: onnx.ModelProto, inputs: Sequence[TensorSpec], sample: Sequence[np.ndarray], expected: object
) -> None:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {spec.name: array for spec, array in zip(inputs, sample, strict=True)}
    results = session.run(None, feeds)
    references = expected if isinstance(expected, tuple) else (expected,)
    for result, reference in zip(results, references, strict=True):
        wanted = reference.numpy()
        scale = max(1.0, float(np.abs(wanted).max(initial=0)))
        if not np.allclose(result, wanted, rtol=_TOLERANCE, atol=_TOLERANCE * scale, equal_nan=True):
            raise InternalError(
                f"an ONNX model that agrees with the network within {_TOLERANCE:g}",
                f"a difference of {float(np.abs(result - wanted).max()):.3g}",
                "report this with the network",
            )


@contextmanager
def in_eval_mode(module: nn.Module) -> Iterator[None]:
    """Inference mode for every submodule inside the block, each in its own mode again after it."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
