"""Networks from files: every format gives the same one, and what is wrong with a file is said."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compress.errors import CompressError, DataError, LiftError, NetworkError, UntrustedFileError
from compress.network.network import load_network
from tests.loading import refusal
from tests.networks import NETWORKS, ResidualCNN, build, load_example

FACTORY = "tests.networks:build_residual_cnn"
EXAMPLE = NETWORKS[ResidualCNN]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:Converting a tensor")


def write_all(folder: Path) -> None:
    """One network in every format."""
    module, (x,) = build(ResidualCNN), load_example(ResidualCNN)
    state = module.state_dict()
    program = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("n")},))
    torch.export.save(program, str(folder / "exported.pt2"))
    torch.jit.save(torch.jit.trace(module, x), folder / "traced.ts")
    torch.jit.save(torch.jit.script(module), folder / "scripted.ts")
    torch.save(state, folder / "state.pt")
    torch.save(state, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.save(
        {"epoch": 3, "model": {f"module.{key}": each for key, each in state.items()}},
        folder / "checkpoint.pt",
    )
    safetensors.torch.save_file(state, folder / "state.safetensors")
    torch.save(module, folder / "pickled.pt")
    onnx.save(load_network(module, example=EXAMPLE).to_onnx(), folder / "model.onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("networks")
    write_all(made)
    return made


FORMATS = {
    "exported.pt2": "pt2",
    "traced.ts": "torchscript",
    "scripted.ts": "torchscript",
    "state.pt": "state_dict",
    "legacy.pt": "state_dict",
    "checkpoint.pt": "state_dict",
    "state.safetensors": "state_dict",
    "pickled.pt": "pickle",
    "model.onnx": "onnx",
}


def _factory(source: object) -> str | None:
    """The factory where one is needed: for the weights alone."""
    alone = isinstance(source, Path) and (source.name == "state" or FORMATS.get(source.name) == "state_dict")
    return FACTORY if alone else None


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_network(folder: Path, name: str) -> None:
    network = load_network(
        folder / name, example=EXAMPLE, factory=_factory(folder / name), trust_pickle=name == "pickled.pt"
    )
    assert network.origin.format == FORMATS[name]
    assert network.origin.path == str(folder / name)
    assert network.origin.sha256 == hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert [str(spec) for spec in (*network.inputs, *network.outputs)] == [
        "x: float32[batch, 3, 8, 8]",
        "output: float32[batch, 5]",
    ]
    (x,) = load_example(ResidualCNN)
    expected = build(ResidualCNN)(x).detach()
    if network.graph is None:
        assert not network.trainable
        session = onnxruntime.InferenceSession(network.to_onnx().SerializeToString())
        found = torch.from_numpy(session.run(None, {"x": x.numpy()})[0])
    else:
        assert network.trainable
        found = network.graph(x).detach()
        layers = {str(node.target) for node in network.graph.graph.nodes if node.op == "call_module"}
        assert {"stem", "layers.1.shortcut", "layers.1.bn2", "head"} <= layers
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("value", "named"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
def test_weights_that_are_no_numbers_are_named(
    folder: Path, tmp_path: Path, value: float, named: str
) -> None:
    module = build(ResidualCNN)
    with torch.no_grad():
        module.layers[0].conv1.weight[0, 0, 0, 0] = value
    x = torch.from_numpy(EXAMPLE["x"])
    torch.save(module.state_dict(), tmp_path / "state")
    torch.jit.save(torch.jit.script(module), tmp_path / "script")
    torch.export.save(torch.export.export(module, (x,)), str(tmp_path / "exported.pt2"))
    model = onnx.load(folder / "model.onnx")
    weight = next(each for each in model.graph.initializer if each.name == "head.weight")
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full((5, 16), value, np.float32), "head.weight"))
    onnx.save(model, tmp_path / "model")
    for source in (module, *sorted(tmp_path.iterdir())):
        error = refusal(NetworkError, source, example=EXAMPLE, factory=_factory(source))
        assert named in error.found
        assert ("head.weight" if source == tmp_path / "model" else "layers.0.conv1.weight") in error.found


def test_torchscript_of_the_wrong_shape_is_told_with_its_shape(folder: Path) -> None:
    error = refusal(NetworkError, folder / "scripted.ts", example=[np.ones((2, 1, 8, 8), np.float32)])
    assert "float32[2, 1, 8, 8]" in error.found
    assert "3 channels" in error.found


def test_an_exported_program_tells_the_shape_it_wants(folder: Path) -> None:
    error = refusal(DataError, folder / "exported.pt2", example=[np.ones((2, 3, 9, 9), np.float32)])
    assert error.wanted == "the input x: float32[any, 3, 8, 8]"
    assert error.found == "float32[2, 3, 9, 9]"


def test_an_exported_program_brings_its_own_example(folder: Path) -> None:
    assert str(load_network(folder / "exported.pt2").inputs[0]) == "x: float32[batch, 3, 8, 8]"


# --- checkpoints --------------------------------------------------------------------------------------------


def test_a_state_dict_needs_its_factory(folder: Path) -> None:
    assert "--factory" in refusal(NetworkError, folder / "state.pt", example=EXAMPLE).todo


def test_a_pickled_module_needs_trust(folder: Path) -> None:
    error = refusal(UntrustedFileError, folder / "pickled.pt", example=EXAMPLE)
    assert "tests.networks.ResidualCNN" in error.found
    assert "--trust-pickle" in error.todo


def test_a_pickled_module_whose_source_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vanishing.py").write_text("import torch\nclass Net(torch.nn.ReLU): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import vanishing

    torch.save(vanishing.Net(), tmp_path / "net.pt")
    monkeypatch.delitem(sys.modules, "vanishing")
    (tmp_path / "vanishing.py").unlink()
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    error = refusal(NetworkError, tmp_path / "net.pt", example=[np.ones((2, 3))], trust_pickle=True)
    assert "vanishing" in error.found


@pytest.mark.parametrize(
    ("factory", "found"),
    [
        ("tests.networks", "tests.networks"),
        ("tests.nothing:build", "tests.nothing"),
        ("tests.networks:biuld_residual_cnn", "biuld_residual_cnn"),
        ("tests.networks:NETWORKS", "dict"),
        ("tests.networks:build", "missing 1 required positional argument"),
        ("collections:OrderedDict", "OrderedDict"),
        ("torch.nn:ReLU", "unexpected (stem.weight, "),
        ("tests.networks:DepthwiseCNN", "missing (expand.weight, "),
    ],
)
def test_factories_that_do_not_fit(folder: Path, factory: str, found: str) -> None:
    assert found in refusal(NetworkError, folder / "state.pt", example=EXAMPLE, factory=factory).found


def test_weights_of_another_width_are_named(tmp_path: Path) -> None:
    state = build(ResidualCNN).state_dict()
    torch.save(state | {"head.weight": torch.zeros(7, 16)}, tmp_path / "state.pt")
    error = refusal(NetworkError, tmp_path / "state.pt", example=EXAMPLE, factory=FACTORY)
    assert "1 of another shape (head.weight (7, 16) for (5, 16))" in error.found


def test_a_checkpoint_without_weights(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "lr": 0.1}, tmp_path / "log.pt")
    assert "epoch, lr" in refusal(NetworkError, tmp_path / "log.pt", example=EXAMPLE, factory=FACTORY).found


def test_the_factory_may_lie_in_the_working_directory(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_networks.py").write_text("from tests.networks import build_residual_cnn as make\n")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    assert load_network(folder / "state.pt", example=EXAMPLE, factory="my_networks:make").trainable


# --- ONNX ---------------------------------------------------------------------------------------------------


def onnx_model(operator: str = "Relu", domain: str = "", **options: Any) -> onnx.ModelProto:
    x, y = (onnx.helper.make_tensor_value_info(name, 1, ["n", 3, None]) for name in "xy")
    w = onnx.numpy_helper.from_array(np.ones(3, np.float32), "w")
    nodes = [
        onnx.helper.make_node("Add", ["x", "w"], ["z"]),
        onnx.helper.make_node(operator, ["z"], ["y"], name="the_node", domain=domain),
    ]
    inputs = [x, onnx.helper.make_tensor_value_info("w", 1, [3])]  # IR 3 lists weights among the inputs
    graph = onnx.helper.make_graph(nodes, "graph", inputs, [y], [w])
    opsets = [onnx.helper.make_opsetid("", options.get("opset", 20))]
    if domain:
        opsets.append(onnx.helper.make_opsetid(domain, 1))
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)


def test_onnx_weights_are_no_inputs_and_axes_have_names(tmp_path: Path) -> None:
    onnx.save(onnx_model(), tmp_path / "model")
    network = load_network(tmp_path / "model")
    assert [str(spec) for spec in network.inputs] == ["x: float32[batch, 3, x_2]"]
    assert [str(spec) for spec in network.outputs] == ["y: float32[batch, 3, y_2]"]
    assert [each.name for each in network.to_onnx().graph.input] == ["x"]


def test_onnx_with_a_custom_operator(tmp_path: Path) -> None:
    onnx.save(onnx_model("Twice", "mine"), tmp_path / "model")
    error = refusal(LiftError, tmp_path / "model")
    assert "'mine::Twice' at the node 'the_node'" in error.found


def test_onnx_that_onnx_runtime_does_not_run(tmp_path: Path) -> None:
    onnx.save(onnx_model(opset=999), tmp_path / "model")
    refusal(NetworkError, tmp_path / "model")


@pytest.mark.parametrize("location", ["../secret", "gone.data", "/etc/passwd"])
def test_onnx_weights_outside_its_folder_are_not_read(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret").write_bytes(bytes(12))
    (tmp_path / "inner").mkdir()
    model = onnx_model()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    (tmp_path / "inner" / "model").write_bytes(model.SerializeToString())
    refusal(NetworkError, tmp_path / "inner" / "model")


def test_onnx_with_external_weights(tmp_path: Path) -> None:
    onnx.save(
        onnx_model(), tmp_path / "model", save_as_external_data=True, location="model.data", size_threshold=0
    )
    assert (
        load_network(tmp_path / "model").to_onnx().graph.initializer[0].raw_data
        == np.ones(3, np.float32).tobytes()
    )


def test_onnx_is_read_without_torch(tmp_path: Path) -> None:
    onnx.save(onnx_model(), tmp_path / "model")
    program = (
        "import sys; sys.modules['torch'] = None; from compress.network.network import load_network; "
        f"assert 'onnx' not in sys.modules; load_network({str(tmp_path / 'model')!r}).to_onnx()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# --- any bytes ----------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_raise_nothing_else_and_run_nothing(
    folder: Path, tmp_path: Path, data: st.DataObject
) -> None:
    source = data.draw(st.sampled_from([name for name in FORMATS if name != "pickled.pt"]))
    content = bytearray((folder / source).read_bytes())
    for _ in range(data.draw(st.integers(0, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content)))]
    (tmp_path / "damaged").write_bytes(content)
    with suppress(CompressError):
        load_network(tmp_path / "damaged", example=EXAMPLE, factory=FACTORY)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prefix=st.sampled_from(
        [b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x04", b"\x08\x0a", bytes([9]) + bytes(7) + b"{"]
    ),
    rest=st.binary(max_size=2000),
)
def test_random_files_raise_nothing_else(tmp_path: Path, prefix: bytes, rest: bytes) -> None:
    (tmp_path / "random").write_bytes(prefix + rest)
    with suppress(CompressError):
        load_network(tmp_path / "random", example=EXAMPLE, factory=FACTORY)


def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    path.write_bytes(b"\x80\x02")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads everything")
    assert "permission" in refusal(NetworkError, path).todo


def test_a_safetensors_file_cut_short(folder: Path, tmp_path: Path) -> None:
    content = (folder / "state.safetensors").read_bytes()
    (tmp_path / "cut").write_bytes(content[:-100])
    refusal(NetworkError, tmp_path / "cut", example=EXAMPLE, factory=FACTORY)
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "wrong").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    refusal(NetworkError, tmp_path / "wrong", example=EXAMPLE, factory=FACTORY)


def test_a_factory_may_take_literal_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sized_nets.py").write_text(
        "from torch import nn\ndef net(width, *, bias=True):\n    return nn.Linear(4, width, bias=bias)\n"
    )
    monkeypatch.chdir(tmp_path)
    torch.save(torch.nn.Linear(4, 3, bias=False).state_dict(), tmp_path / "sized.pt")
    example = {"input": np.zeros((2, 4), np.float32)}
    network = load_network(tmp_path / "sized.pt", example=example, factory="sized_nets:net(3, bias=False)")
    assert network.outputs[0].shape[1] == 3
    with pytest.raises(NetworkError, match=r"sized_nets:net\(open\(\)\); write literals"):
        load_network(tmp_path / "sized.pt", example=example, factory="sized_nets:net(open())")
    with pytest.raises(NetworkError, match=r"sized_nets:net\(\): .*; give what it needs"):
        load_network(tmp_path / "sized.pt", example=example, factory="sized_nets:net")
