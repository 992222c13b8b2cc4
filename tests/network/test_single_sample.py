"""Networks that take one sample without an axis that counts samples: an image [height, width, 3], a row of features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from compress import load_bundle, optimize, prune, quantize
from compress.api.inputs import axis_notes, load_bound
from compress.backends.onnxruntime import OnnxRuntime
from compress.data.task import load_task
from compress.errors import DataError
from compress.network.preparation import outputs_as_it_came
from compress.onnx_graph.single_sample import with_sample_axis

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (40, 12, 10, 3)).astype(np.uint8)


class Photo(nn.Module):
    """Classes of one image [height, width, 3]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Linear(8, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = image.permute(2, 0, 1).float() / 255
        return self.head(self.conv(self.stem(x).relu()).relu().mean((1, 2)))


class Parts(nn.Module):
    """Two results of a row of features: one of them a number alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 4)

    def forward(self, row: torch.Tensor) -> dict[str, torch.Tensor]:
        assert row.dim() == 1, "a row of features"
        hidden = self.first(row)
        return {"hidden": hidden, "total": hidden.sum()}


@pytest.fixture(scope="module")
def photo() -> Photo:
    torch.manual_seed(0)
    return Photo().eval()


def saved(model: nn.Module, example: torch.Tensor, form: str, folder: Path) -> nn.Module | Path:
    path = folder / "model"
    if form == "module":
        return model
    if form == "torchscript":
        torch.jit.script(model).save(path)
    elif form == "traced":
        torch.jit.trace(model, (example,)).save(path)
    elif form == "pt2":
        torch.export.save(torch.export.export(model, (example,)), path)
    else:
        opset = int(form.removeprefix("onnx "))
        torch.onnx.export(model, (example,), path, input_names=["image"], dynamo=False, opset_version=opset)
    return path


FORMS = ["module", "torchscript", "traced", "pt2", "onnx 11", "onnx 18"]


@pytest.mark.parametrize("form", FORMS)
def test_a_sample_is_given_without_an_axis_for_it(photo: Photo, form: str, tmp_path: Path) -> None:
    model = saved(photo, torch.from_numpy(IMAGES[0]), form, tmp_path)
    network, task = load_bound(load_task({"image": IMAGES}), model)
    assert [spec.shape for spec in network.inputs] == [(1, 12, 10, 3)]
    assert any("without an axis that counts samples" in note for note in axis_notes(network))
    with torch.no_grad():
        wanted = [photo(torch.from_numpy(image)).numpy() for image in IMAGES[:3]]
    name = network.inputs[0].name
    artifact = OnnxRuntime().compile(network.to_onnx(), tmp_path, {"intra_op_threads": 1})
    with OnnxRuntime().open(artifact) as session:
        for image, answer in zip(IMAGES[:3], wanted, strict=True):
            found = session.run({name: image[None]})[0]
            assert found.shape == (1, 5)
            np.testing.assert_allclose(found[0], answer, rtol=1e-4, atol=1e-5)
    assert next(task.calibration.batches(1)).inputs[name].shape == (1, 12, 10, 3)
    once = outputs_as_it_came(network, {name: IMAGES[:1]})
    np.testing.assert_allclose(once[0][0], wanted[0], rtol=1e-4, atol=1e-5)


def test_images_of_several_sizes_stay_open(photo: Photo) -> None:
    images = [
        {"image": RANDOM.integers(0, 256, (4, *size, 3)).astype(np.uint8)} for size in [(12, 10), (9, 14)] * 3
    ]
    network, _ = load_bound(load_task(images), photo)
    shape = network.inputs[0].shape
    assert (shape[0], shape[3]) == (1, 3)
    assert all(isinstance(size, str) for size in shape[1:3])


def test_every_result_gets_the_axis() -> None:
    torch.manual_seed(0)
    model = Parts().eval()
    rows = RANDOM.standard_normal((40, 6)).astype(np.float32)
    network, _ = load_bound(load_task({"row": rows}), model)
    assert [(spec.name, spec.shape) for spec in network.outputs] == [("hidden", (1, 4)), ("total", (1,))]


def test_the_whole_way(photo: Photo, tmp_path: Path) -> None:
    path = saved(photo, torch.from_numpy(IMAGES[0]), "onnx 18", tmp_path)
    result = optimize(
        path, data={"image": IMAGES}, out=tmp_path / "build", max_drop=99, threads=1, seconds=0.02, recipes=[]
    )
    with load_bundle(result.bundle.path) as bundle, torch.no_grad():
        found = bundle.run(IMAGES[:1])[0]
        np.testing.assert_allclose(found[0], photo(torch.from_numpy(IMAGES[0])).numpy(), rtol=1e-4, atol=1e-5)
    quantized = quantize(path, data={"image": IMAGES}, out=tmp_path / "int8.onnx")
    assert quantized.path.is_file()
    pruned = prune(photo, data={"image": IMAGES}, out=tmp_path / "pruned.pt2", ratio=0.3)
    assert pruned.networks[1].parameters < pruned.networks[0].parameters


def test_values_of_loops_and_branches_keep_their_meaning() -> None:
    """A branch reads the network's input; an output is read by another node, and one is a weight."""

    def branch(name: str, operator: str) -> onnx.GraphProto:
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(operator, ["x"], [name])], name, [], [value])

    node = helper.make_node(
        "If", ["yes"], ["chosen"], then_branch=branch("then", "Neg"), else_branch=branch("else", "Abs")
    )
    more = helper.make_node("Exp", ["chosen"], ["raised"])
    weights = [
        numpy_helper.from_array(np.array(True), "yes"),
        numpy_helper.from_array(np.ones(2, np.float32), "kept"),
    ]
    graph = helper.make_graph(
        [node, more],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("chosen", "raised")]
        + [helper.make_tensor_value_info("kept", TensorProto.FLOAT, [2])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    batched = with_sample_axis(model)
    onnx.checker.check_model(batched, full_check=True)
    from onnx.reference import ReferenceEvaluator

    x = RANDOM.standard_normal((4, 3)).astype(np.float32)
    found = ReferenceEvaluator(batched).run(None, {"x": x[None]})
    for one, other in zip(found, ReferenceEvaluator(model).run(None, {"x": x}), strict=True):
        np.testing.assert_array_equal(one, np.asarray(other)[None])


def test_an_axis_of_size_1_too_many_is_told(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "model.onnx"
    torch.onnx.export(
        nn.Linear(6, 4),
        (torch.zeros(2, 6),),
        path,
        input_names=["x"],
        dynamic_axes={"x": {0: "batch"}},
        dynamo=False,
    )
    rows = RANDOM.standard_normal((40, 1, 6)).astype(np.float32)
    with pytest.raises(DataError, match=r"leave the axis of size 1 out: x\[:, 0\]"):
        load_bound(load_task({"x": rows}), path)


@pytest.mark.parametrize("sizes", [(8,), ("n",), (2, "n")], ids=str)
def test_data_may_bring_the_axis_of_the_only_sample(tmp_path: Path, sizes: tuple[int | str, ...]) -> None:
    """The file takes one sample, [1, …], and so is each sample of the data."""
    own = [size if isinstance(size, int) else 8 for size in sizes]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *sizes])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, *sizes[:-1], 4])]
    weights = RANDOM.standard_normal((8, 4)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        inputs,
        outputs,
        [numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    x = RANDOM.standard_normal((40, 1, *own)).astype(np.float32)
    _, task = load_bound(load_task({"x": x}), path)
    batch = next(task.evaluation.batches(1))
    assert (len(batch), batch.inputs["x"].shape) == (1, (1, *own))
    assert quantize(path, data={"x": x}, out=tmp_path / "int8.onnx").path.is_file()
