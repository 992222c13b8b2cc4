from __future__ import annotations

import copy
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
from torch import nn

from compress.errors import CompressError, DataError, LiftError, NetworkError, UntrustedFileError
from compress.network import Network, load_network
from tests.networks import (
    NETWORKS,
    GRUNet,
    ResidualCNN,
    TiedWeights,
    TwoInputs,
    TwoOutputs,
    VisionTransformer,
    build,
    load_example,
)

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


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_network(folder: Path, name: str) -> None:
    network = load_network(folder / name, example=EXAMPLE, factory=FACTORY, trust_pickle=name == "pickled.pt")
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


@pytest.mark.parametrize("kind", ["traced", "scripted"])
@pytest.mark.parametrize(
    "network", [VisionTransformer, GRUNet, TwoInputs, TwoOutputs, TiedWeights], ids=lambda each: each.__name__
)
def test_torchscript_keeps_its_parameters_and_its_batch(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], network: type[nn.Module], kind: str
) -> None:
    module, example = build(network), load_example(network)
    script = (
        torch.jit.script(module)
        if kind == "scripted"
        else torch.jit.trace(module, tuple(example), strict=False, check_trace=False)
    )
    torch.jit.save(script, tmp_path / "network")
    capfd.readouterr()
    loaded = load_network(tmp_path / "network", example=NETWORKS[network])
    assert capfd.readouterr() == ("", "")
    assert loaded.graph is not None
    assert [spec.name for spec in loaded.inputs] == list(NETWORKS[network])
    live = load_network(module, example=NETWORKS[network])
    assert live.graph is not None
    assert loaded.outputs == live.outputs
    assert dict(loaded.graph.named_parameters()).keys() == dict(live.graph.named_parameters()).keys()
    assert len(list(loaded.graph.parameters())) == len(list(live.graph.parameters()))
    assert all(spec.dynamic_batch for spec in loaded.inputs)


class Encoder(nn.Module):
    def __init__(self, *, norm_first: bool, activation: str) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            16, 4, 32, batch_first=True, norm_first=norm_first, activation=activation
        )
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x).mean(1)


@pytest.mark.parametrize(
    ("module", "x"),
    [
        (build(VisionTransformer), load_example(VisionTransformer)[0]),
        (Encoder(norm_first=False, activation="relu").eval(), torch.ones(4, 6, 16)),
        (Encoder(norm_first=True, activation="gelu").eval(), torch.ones(4, 6, 16)),
    ],
    ids=["attention", "norm last", "norm first"],
)
def test_attention_that_was_fused_while_tracing_is_trainable_again(
    tmp_path: Path, module: nn.Module, x: torch.Tensor
) -> None:
    with torch.no_grad():
        script = torch.jit.trace(module, x, check_trace=False)
    assert "_native_multi_head_attention" in str(script.inlined_graph) or "_encoder_layer_fwd" in str(
        script.inlined_graph
    )
    torch.jit.save(script, tmp_path / "traced")
    graph = load_network(tmp_path / "traced", example=[x.numpy()]).graph
    assert graph is not None
    found, wanted = dict(graph.named_parameters()), dict(module.named_parameters())
    assert sum(each.numel() for each in found.values()) == sum(each.numel() for each in wanted.values())
    torch.testing.assert_close(graph(x), module(x), rtol=1e-4, atol=1e-5)
    graph(x).square().sum().backward()
    assert all(each.grad is not None for each in found.values())


def test_scripted_loops_over_the_batch_keep_it_fixed(tmp_path: Path) -> None:
    class OverRows(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for row in range(x.size(0)):
                x = x + row
            return x

    torch.jit.save(torch.jit.script(OverRows()), tmp_path / "script")
    assert load_network(tmp_path / "script", example=[np.ones((4, 3), np.float32)]).inputs[0].shape == (4, 3)


def test_scripted_inputs_that_are_no_tensors(tmp_path: Path) -> None:
    class Repeats(nn.Module):
        def forward(self, x: torch.Tensor, times: int, scale: float = 2.0) -> torch.Tensor:
            return x * times * scale

    torch.jit.save(torch.jit.script(Repeats()), tmp_path / "script")
    error = refusal(LiftError, tmp_path / "script", example=[np.ones((2, 3), np.float32)])
    assert error.found == "'times: int' of forward()"


def test_scripted_branches_on_data_are_refused_with_their_place(tmp_path: Path) -> None:
    class OnData(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if bool(x.sum() > 0):
                return x
            return -x

    torch.jit.save(torch.jit.script(OnData()), tmp_path / "script")
    assert f"{__file__}:" in refusal(LiftError, tmp_path / "script", example=[np.ones((4, 3))]).found


def test_frozen_torchscript_is_trainable_again(tmp_path: Path) -> None:
    module, (x,) = build(ResidualCNN), load_example(ResidualCNN)
    torch.jit.save(torch.jit.freeze(torch.jit.script(module)), tmp_path / "frozen")
    graph = load_network(tmp_path / "frozen", example=EXAMPLE).graph
    assert graph is not None
    torch.testing.assert_close(graph(x), module(x), rtol=1e-4, atol=1e-4)
    graph(x).sum().backward()
    gradients = [each.grad for each in graph.parameters()]
    assert len(gradients) == 12  # seven weights, five biases; batch norms are folded
    assert all(each is not None for each in gradients)


# --- live modules -------------------------------------------------------------------------------------------


def test_a_live_module_is_never_modified() -> None:
    module, (x,) = build(ResidualCNN), load_example(ResidualCNN)
    module.train()
    module.layers[0].bn1.eval()
    module.head.bias.requires_grad_(False)
    module(x).sum().backward()
    calls: list[int] = []
    module.head.register_forward_hook(lambda *_: calls.append(1))
    before = copy.deepcopy(module)
    gradients = [None if each.grad is None else each.grad.clone() for each in module.parameters()]
    array = EXAMPLE["x"].copy()

    network = load_network(module, example={"x": array})
    assert network.graph is not None
    network.graph.train()(x)
    with torch.no_grad():
        for parameter in network.graph.parameters():
            parameter.add_(1)

    assert [part.training for part in module.modules()] == [part.training for part in before.modules()]
    for now, then in zip(module.state_dict().values(), before.state_dict().values(), strict=True):
        assert torch.equal(now, then)
    assert [each.requires_grad for each in module.parameters()] == [
        each.requires_grad for each in before.parameters()
    ]
    for parameter, gradient in zip(module.parameters(), gradients, strict=True):
        assert parameter.grad is gradient is None or torch.equal(parameter.grad, gradient)
    assert len(module.head._forward_hooks) == 1
    assert np.array_equal(array, EXAMPLE["x"])


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, torch.compile, torch.jit.script], ids=lambda each: each.__name__
)
def test_wrapped_modules_are_unwrapped(wrap: Any) -> None:
    module = build(ResidualCNN)
    network = load_network(wrap(module), example=EXAMPLE)
    assert network.graph is not None
    (x,) = load_example(ResidualCNN)
    torch.testing.assert_close(network.graph(x), module(x), rtol=1e-4, atol=1e-5)
    assert "layers.1.shortcut.weight" in dict(network.graph.named_parameters())


def test_the_origin_of_a_live_module_is_its_state() -> None:
    module = build(TwoOutputs)
    origin = load_network(module, example=NETWORKS[TwoOutputs]).origin
    assert (origin.path, origin.format) == ("TwoOutputs", "module")
    assert load_network(build(TwoOutputs), example=NETWORKS[TwoOutputs]).origin == origin
    with torch.no_grad():
        module.box.bias[0] += 1
    assert load_network(module, example=NETWORKS[TwoOutputs]).origin.sha256 != origin.sha256


@pytest.mark.parametrize(
    "example",
    [
        {"x": NETWORKS[TwoOutputs]["x"]},
        {"images": NETWORKS[TwoOutputs]["x"]},
        [NETWORKS[TwoOutputs]["x"]],
        [NETWORKS[TwoOutputs]["x"].astype(np.float64)],
        [NETWORKS[TwoOutputs]["x"][:1]],
    ],
    ids=["by name", "another name", "in order", "another float", "one row"],
)
def test_examples_are_matched_to_the_inputs(example: Any) -> None:
    assert str(load_network(build(TwoOutputs), example=example).inputs[0]) == "x: float32[batch, 8]"


def test_an_optional_input_may_be_left_out_or_given() -> None:
    class Scaled(nn.Module):
        def forward(self, x: torch.Tensor, scale: torch.Tensor | None = None) -> torch.Tensor:
            return x if scale is None else x * scale

    ones = np.ones((2, 3), np.float32)
    assert [spec.name for spec in load_network(Scaled(), example=[ones]).inputs] == ["x"]
    assert [spec.name for spec in load_network(Scaled(), example={"scale": ones, "x": ones}).inputs] == [
        "x",
        "scale",
    ]


def refusal(kind: type[CompressError], source: Any, **options: Any) -> CompressError:
    with pytest.raises(kind) as caught:
        load_network(source, **options)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return caught.value


def test_no_example() -> None:
    assert "--data" in refusal(NetworkError, build(TwoOutputs)).todo


@pytest.mark.parametrize(
    "example",
    [{"image": np.ones((2, 3, 8, 8))}, {"a": 1, "b": 2}, [], [1, 2, 3], {"image": "no", "tokens": [[1]]}],
)
def test_examples_that_do_not_name_the_inputs(example: Any) -> None:
    refusal(DataError, build(TwoInputs), example=example)


def test_an_example_of_the_wrong_shape_is_told_with_its_shape() -> None:
    error = refusal(NetworkError, build(ResidualCNN), example=[np.ones((2, 1, 8, 8), np.float32)])
    assert "float32[2, 1, 8, 8]" in error.found
    assert "3 channels" in error.found


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


def test_something_else_than_a_module() -> None:
    refusal(NetworkError, 3, example=[])


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
        error = refusal(NetworkError, source, example=EXAMPLE, factory=FACTORY)
        assert named in error.found
        assert ("head.weight" if source == tmp_path / "model" else "layers.0.conv1.weight") in error.found


def test_an_infinite_mask_is_no_fault() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.triu(torch.full((3, 3), float("-inf")), 1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.softmax(x[:, None] + self.mask, -1)

    assert load_network(Masked(), example=[np.ones((2, 3), np.float32)]).trainable


def test_a_module_without_values_is_refused() -> None:
    refusal(NetworkError, nn.Linear(3, 3, device="meta"), example=[np.ones((2, 3))])
    refusal(NetworkError, nn.LazyLinear(3), example=[np.ones((2, 3))])


def test_bfloat16_is_refused() -> None:
    refusal(NetworkError, nn.Linear(3, 3).bfloat16(), example=[np.ones((2, 3))])


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
        "import sys; sys.modules['torch'] = None; from compress.network import load_network; "
        f"assert 'onnx' not in sys.modules; load_network({str(tmp_path / 'model')!r}).to_onnx()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_network_continues_as_onnx_or_as_another_graph() -> None:
    network = load_network(build(TwoOutputs), example=NETWORKS[TwoOutputs])
    model = onnx_model()
    continued = network.with_onnx(model)
    assert continued.to_onnx() is model
    assert not continued.trainable
    assert continued.origin == network.origin
    assert network.graph is not None
    graph = copy.deepcopy(network.graph)
    other = network.with_graph(graph)
    assert isinstance(other, Network)
    assert (other.inputs, other.outputs, other.origin) == (network.inputs, network.outputs, network.origin)
    assert other.graph is graph
    assert other.trainable


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
