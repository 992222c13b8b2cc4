"""Small networks that carry a state from call to call, as ONNX files and as modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

FEATURES, HIDDEN, FRAMES, STREAMS = 6, 8, 20, 40

#: The states of :func:`denoiser`: one with its samples along axis 1, one along axis 0.
STATES = {"h": "hn", "smooth": "smoothed"}


def streams(count: int = STREAMS, frames: int = FRAMES, seed: int = 0) -> np.ndarray[Any, Any]:
    """Noise that changes slowly, float32 ``(streams, frames, features)``."""
    noise = np.random.default_rng(seed).standard_normal((count, frames, FEATURES))
    for frame in range(1, frames):
        noise[:, frame] = 0.8 * noise[:, frame - 1] + 0.6 * noise[:, frame]
    return noise.astype(np.float32)


def denoiser(batch: int | str = "batch", rate: bool = False, hidden: int = HIDDEN) -> onnx.ModelProto:
    """x [batch, features], h [1, batch, hidden], smooth [batch, features] → y, hn, smoothed.

    Args:
        batch: Its size, or a name where it is open.
        rate: Whether it takes a sampling rate too, int64 without an axis, which scales the answer.
        hidden: Numbers of its state h.
    """
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(
            (random.standard_normal(shape) / shape[0] ** 0.5).astype(np.float32), name
        )

    def floats(name: str, *shape: int | str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    nodes = [
        helper.make_node("Mul", ["smooth", "keep"], ["kept"]),
        helper.make_node("Mul", ["x", "take"], ["taken"]),
        helper.make_node("Add", ["kept", "taken"], ["smoothed"]),
        helper.make_node("MatMul", ["smoothed", "w"], ["seen"]),
        helper.make_node("MatMul", ["h", "u"], ["known"]),
        helper.make_node("Add", ["known", "seen"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["hn"]),
        helper.make_node("Squeeze", ["hn", "first"], ["inside"]),
        helper.make_node("MatMul", ["inside", "v"], ["answer"]),
    ]
    inputs = [
        floats("x", batch, FEATURES),
        floats("h", 1, batch, hidden),
        floats("smooth", batch, FEATURES),
    ]
    if rate:
        inputs.append(helper.make_tensor_value_info("rate", TensorProto.INT64, []))
        nodes += [
            helper.make_node("Cast", ["rate"], ["hertz"], to=TensorProto.FLOAT),
            helper.make_node("Div", ["hertz", "base"], ["scale"]),
            helper.make_node("Mul", ["answer", "scale"], ["y"]),
        ]
    else:
        nodes[-1].output[0] = "y"
    graph = helper.make_graph(
        nodes,
        "denoiser",
        inputs,
        [
            floats("y", batch, FEATURES),
            floats("hn", 1, batch, hidden),
            floats("smoothed", batch, FEATURES),
        ],
        [
            numpy_helper.from_array(np.array(0.7, np.float32), "keep"),
            numpy_helper.from_array(np.array(0.3, np.float32), "take"),
            numpy_helper.from_array(np.array([0], np.int64), "first"),
            numpy_helper.from_array(np.array(16000, np.float32), "base"),
            weight("w", FEATURES, hidden),
            weight("u", hidden, hidden),
            weight("v", hidden, FEATURES),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A model in ONNX Runtime, as anyone opens it."""
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def by_hand(
    model: onnx.ModelProto,
    frames: np.ndarray[Any, Any],
    states: Mapping[str, str] = STATES,
    forget: bool = False,
    **still: np.ndarray[Any, Any],
) -> dict[str, np.ndarray[Any, Any]]:
    """Every output for every frame of one stream, ``(frames, …)`` as the network gives it, by a loop written out.

    Args:
        model: The network.
        frames: ``(frames, features)``.
        states: The next value of each state.
        forget: Whether every frame begins with zeros.
        still: Inputs that are the same for every frame.
    """
    session = session_of(model)
    names = [value.name for value in session.get_outputs()]
    zeros = {
        value.name: np.zeros([size if isinstance(size, int) else 1 for size in value.shape], np.float32)
        for value in session.get_inputs()
        if value.name in states
    }
    state, found = dict(zeros), []
    for frame in frames:
        outputs = dict(zip(names, session.run(names, {"x": frame[None], **state, **still}), strict=True))
        found.append(outputs)
        state = dict(zeros) if forget else {name: outputs[output] for name, output in states.items()}
    return {name: np.stack([each[name] for each in found]) for name in names}


class Recurrent(nn.Module):
    """Two layers with a state each; every call takes a chunk of one frame, ``[batch, 1, features]``."""

    def __init__(self, optional: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.GRU(FEATURES, HIDDEN, batch_first=True), nn.LSTM(HIDDEN, HIDDEN)
        self.head, self.optional = nn.Linear(HIDDEN, FEATURES), optional

    def forward(
        self, x: torch.Tensor, h: torch.Tensor, c: torch.Tensor, d: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        inside, hn = self.first(x, h)
        inside, (cn, dn) = self.second(inside.transpose(0, 1), (c, d))
        return {"y": self.head(inside.transpose(0, 1)), "hn": hn, "cn": cn, "dn": dn}


class Spotter(nn.Module):
    """Scores of three words from a convolution over this frame and the two before, which it keeps: ``cache``."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.head = nn.Conv1d(FEATURES, 16, 3), nn.Linear(16, 3)

    def forward(
        self, x: torch.Tensor, cache: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if cache is None:
            cache = x.new_zeros(x.shape[0], FEATURES, 2)
        seen = torch.cat([cache, x.unsqueeze(-1)], dim=-1)
        return self.head(torch.relu(self.convolution(seen)[..., 0])), seen[..., 1:]


def file_of(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def far(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """The difference as a share of what the second varies by."""
    return float(np.sqrt(np.mean((one - other) ** 2) / np.var(other)))
