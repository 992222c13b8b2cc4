"""Small files of each kind, made by code: what mutations begin with. Each function gives contents by name."""

from __future__ import annotations

import io
import json
import zipfile
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx
    import torch

Corpus = dict[str, bytes]


@cache
def onnx_graphs() -> Corpus:
    """Graphs of what folding, shape inference and quantization look at."""
    models = {
        "layers": _layers(),
        "computed": _computed_sizes(),
        "bodies": _bodies(),
        "quantized": _quantized(),
    }
    return {name: bytes(model.SerializeToString()) for name, model in models.items()}


def _model(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: dict[str, Any]
) -> onnx.ModelProto:
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
        [numpy_helper.from_array(np.asarray(values), name) for name, values in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _layers() -> onnx.ModelProto:
    from onnx.helper import make_node

    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "b": np.zeros(4, np.float32),
        "s": np.ones(4, np.float32),
        "v": random.normal(size=(4, 2)).astype(np.float32),
        "c": np.zeros(2, np.float32),
    }
    nodes = [
        make_node("Conv", ["x", "w", "b"], ["h"], "conv", pads=[1, 1, 1, 1]),
        make_node("BatchNormalization", ["h", "s", "b", "b", "s"], ["n"], "norm"),
        make_node("Relu", ["n"], ["r"], "relu"),
        make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        make_node("Flatten", ["p"], ["f"], "flatten"),
        make_node("MatMul", ["f", "v"], ["m"], "matmul"),
        make_node("Add", ["m", "c"], ["y"], "add"),
    ]
    return _model(nodes, [("x", ["batch", 3, 4, 4])], [("y", ["batch", 2])], weights)


def _computed_sizes() -> onnx.ModelProto:
    from onnx.helper import make_node

    nodes = [
        make_node("Shape", ["x"], ["shape"], "shape"),
        make_node("Gather", ["shape", "zero"], ["rows"], "rows", axis=0),
        make_node("Concat", ["rows", "sizes"], ["wanted"], "wanted", axis=0),
        make_node("Reshape", ["x", "wanted"], ["h"], "reshape"),
        make_node("ConstantOfShape", ["sizes"], ["zeros"], "zeros"),
        make_node("Expand", ["one", "sizes"], ["ones"], "ones"),
        make_node("Tile", ["ones", "twice"], ["tiled"], "tiled"),
        make_node("Range", ["start", "limit", "step"], ["places"], "range"),
        make_node("Slice", ["tiled", "zero", "sizes", "zero"], ["part"], "slice"),
        make_node("Add", ["h", "zeros"], ["a"], "a"),
        make_node("Add", ["a", "part"], ["b"], "b"),
        make_node("Cast", ["places"], ["floats"], "cast", to=1),
        make_node("Add", ["b", "floats"], ["y"], "y"),
    ]
    constants = {
        "zero": np.array([0], np.int64),
        "sizes": np.array([4], np.int64),
        "twice": np.array([2], np.int64),
        "one": np.array([1], np.float32),
        "start": np.array(0, np.int64),
        "limit": np.array(4, np.int64),
        "step": np.array(1, np.int64),
    }
    return _model(nodes, [("x", ["batch", 2, 2])], [("y", ["batch", 4])], constants)


def _bodies() -> onnx.ModelProto:
    from onnx import TensorProto, helper
    from onnx.helper import make_node

    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            make_node("Identity", ["going"], ["again"]),
            make_node("Add", ["state", "state"], ["next"]),
        ],
        "body",
        [
            value("number", TensorProto.INT64, []),
            value("going", TensorProto.BOOL, []),
            value("state", 1, ["batch", 2]),
        ],
        [value("again", TensorProto.BOOL, []), value("next", 1, ["batch", 2])],
    )
    branch = helper.make_graph([make_node("Relu", ["h"], ["z"])], "branch", [], [value("z", 1, ["batch", 2])])
    nodes = [
        make_node("Loop", ["rounds", "true", "x"], ["h"], "loop", body=body),
        make_node("If", ["true"], ["y"], "if", then_branch=branch, else_branch=branch),
    ]
    constants = {"rounds": np.array(3, np.int64), "true": np.array(True)}
    return _model(nodes, [("x", ["batch", 2])], [("y", ["batch", 2])], constants)


def _quantized() -> onnx.ModelProto:
    from onnx.helper import make_node

    nodes = [
        make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], "q"),
        make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], "d"),
        make_node("DequantizeLinear", ["w", "scales", "zeros"], ["v"], "v", axis=0),
        make_node("Gemm", ["d", "v"], ["y"], "gemm", transB=1),
    ]
    constants = {
        "scale": np.array(0.1, np.float32),
        "zero": np.array(0, np.int8),
        "w": np.ones((2, 4), np.int8),
        "scales": np.ones(2, np.float32),
        "zeros": np.zeros(2, np.int8),
    }
    return _model(nodes, [("x", ["batch", 4])], [("y", ["batch", 2])], constants)


def _network() -> torch.nn.Module:
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)).eval()


@cache
def torchscript() -> Corpus:
    """Traced and scripted."""
    import torch

    traced, scripted = io.BytesIO(), io.BytesIO()
    torch.jit.save(torch.jit.trace(_network(), torch.ones(2, 4)), traced)  # type: ignore[no-untyped-call]
    torch.jit.save(torch.jit.script(_network()), scripted)
    return {"traced": traced.getvalue(), "scripted": scripted.getvalue()}


@cache
def pt2() -> Corpus:
    """An exported program of any batch."""
    import torch

    written = io.BytesIO()
    shapes = ({0: torch.export.Dim("batch", min=2, max=64)},)
    torch.export.save(torch.export.export(_network(), (torch.ones(4, 4),), dynamic_shapes=shapes), written)
    return {"program": written.getvalue()}


@cache
def checkpoints() -> Corpus:
    """State dicts in the zip of today, and in the pickles of before."""
    import torch

    found = {}
    for name, zipped in (("zip", True), ("pickles", False)):
        written = io.BytesIO()
        torch.save(
            {"state_dict": _network().state_dict(), "epoch": 3},
            written,
            _use_new_zipfile_serialization=zipped,
        )
        found[name] = written.getvalue()
    return found


@cache
def safetensors() -> Corpus:
    """A state dict as safetensors."""
    from safetensors.torch import save

    return {"weights": save(_network().state_dict())}


@cache
def npz() -> Corpus:
    """Arrays by name, stored and compressed."""
    plain, packed = io.BytesIO(), io.BytesIO()
    x, y = np.arange(32, dtype=np.float32).reshape(8, 4), np.arange(8) % 2
    np.savez(plain, x=x, y=y, groups=y)
    np.savez_compressed(packed, x=x, y=y)
    return {"plain": plain.getvalue(), "packed": packed.getvalue()}


@cache
def npy() -> Corpus:
    """Integers, texts, and an order that is Fortran's."""
    found = {}
    arrays = {
        "int": np.arange(60),
        "text": np.array(["a", "bc"]),
        "fortran": np.asfortranarray(np.ones((3, 4))),
    }
    for name, array in arrays.items():
        written = io.BytesIO()
        np.save(written, array)
        found[name] = written.getvalue()
    return found


@cache
def images() -> Corpus:
    """The same pixels in each format."""
    from PIL import Image

    pixels = Image.fromarray((np.arange(16 * 16 * 3) % 255).astype(np.uint8).reshape(16, 16, 3))
    found = {}
    for kind in ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM"):
        written = io.BytesIO()
        pixels.save(written, kind)
        found[kind] = written.getvalue()
    return found


@cache
def coco() -> Corpus:
    """Boxes of one image."""
    boxes = [{"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0}]
    whole = {
        "images": [{"id": 1, "file_name": "a.png", "width": 16, "height": 16}],
        "annotations": boxes,
        "categories": [{"id": 7, "name": "cat"}],
    }
    return {"boxes": json.dumps(whole).encode()}


@cache
def yolo_labels() -> Corpus:
    """Boxes and a polygon."""
    return {"boxes": b"0 0.5 0.5 0.2 0.2\n1 0.25 0.25 0.5 0.5\n", "polygon": b"0 0.1 0.1 0.5 0.1 0.5 0.5\n"}


@cache
def yolo_names() -> Corpus:
    """Names as a list and by number."""
    return {"list": b"names: [cat, dog]\nnc: 2\n", "numbers": b"names:\n  0: &a cat\n  1: *a\n"}


@cache
def image_options() -> Corpus:
    """Files of image options."""
    whole = b'size = [8, 8]\nresize = "letterbox"\nmean = [0.5, 0.5, 0.5]\n\n[detections]\nboxes = "boxes"\n'
    return {"options": whole, "plain": b'size = [8, 8]\nmode = "L"\nscale = 1.0\n'}


@cache
def recipes() -> Corpus:
    """Steps with settings."""
    return {
        "int8": b'name = "a"\n\n[[technique]]\nname = "quantize"\nmethod = "entropy"\n',
        "two": b'name = "b"\nbackend = "openvino"\n[[technique]]\nname = "prune"\n[session]\nthreads = 1\n',
    }


@cache
def policies() -> Corpus:
    """Policies of a gate."""
    return {
        "policy": b'checks = ["accuracy", "latency"]\nalpha = 0.05\nlooks = [10, 20]\nmax_drop_points = 0.5\n'
    }


@cache
def targets() -> Corpus:
    """Those that come along."""
    from compress.target.target import _files

    return {path.name: path.read_bytes() for path in _files()[:6]}


@cache
def profiles() -> Corpus:
    """Profiles with and without their hash."""
    from compress.bundle.profile_file import with_digest
    from compress.records.profile import Accuracy, Drop, Interval, Latency, Profile

    interval = Interval(0.9, 1.1, 0.95)
    profile = Profile(
        recipe="int8",
        artifact_sha256="0" * 64,
        artifact_bytes=1000,
        backend="onnxruntime",
        options={"intra_op_threads": 1},
        target="cpu",
        accuracy=Accuracy(
            "top-1",
            2 / 3,
            Interval(0.1, 0.9, 0.95),
            3,
            "1" * 64,
            True,
            True,
            Drop(0.0, Interval(-1.0, 1.0, 0.9), 0.02),
        ),
        latency=(Latency("measured", 1, 2.0, 2.2, 2.5, Interval(1.9, 2.1, 0.95), 500.0, 100, 1.0, interval),),
        peak_memory_mb=12.5,
        coverage=None,
        fingerprint={"cpu": "a processor"},
        versions={"python": "3.11"},
        outcomes=(1.0, 0.0, 1.0),
    )
    return {
        "profile": json.dumps(with_digest(profile)).encode(),
        "open": json.dumps(profile.to_dict()).encode(),
    }


@cache
def bundles() -> Corpus:
    """Bundles that ``compress optimize`` ships of a small network, zipped; their figures are those of the moment."""
    import tempfile
    from pathlib import Path

    import compress

    random = np.random.default_rng(0)
    data = {"x": random.normal(size=(60, 3, 4, 4)).astype(np.float32), "y": np.arange(60) % 2}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        place = Path(folder)
        (place / "net.onnx").write_bytes(onnx_graphs()["layers"])
        (place / "int8.toml").write_bytes(b'name = "int8"\n[[technique]]\nname = "quantize"\n')
        result = compress.optimize(
            place / "net.onnx",
            data=data,
            target="cpu",
            out=place / "build",
            recipes=[place / "int8.toml"],
            backends=["onnxruntime"],
            threads=1,
            seconds=0.02,
            max_drop=100,
        )
        assert result.bundle is not None
        files = {
            path.relative_to(place / "build").as_posix(): path.read_bytes()
            for path in sorted((place / "build").rglob("*"))
            if path.is_file()
        }
    return {"bundle": zipped(files)}


def zipped(files: dict[str, bytes]) -> bytes:
    """The files of a bundle as one input."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return written.getvalue()


def unzipped(content: bytes) -> dict[str, bytes]:
    """Unpack what :func:`zipped` packed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
