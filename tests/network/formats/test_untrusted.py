"""Files that would run code: none of them may, unless the user says so."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compress.errors import LiftError, NetworkError, UntrustedFileError
from compress.network.formats.pt2 import read_pt2
from compress.network.formats.pt2_program import checked_program
from compress.network.formats.torchscript import read_torchscript
from compress.network.network import load_network

X = np.ones((2, 3), np.float32)


class RunsCode:
    def __init__(self, canary: Path) -> None:
        self.command = f"touch {canary}"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (self.command,)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file that the code in the tests' files would write."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The members of a harmless .pt2 archive."""
    path = tmp_path_factory.mktemp("pt2") / "network.pt2"
    program = torch.export.export(
        nn.Sequential(nn.Linear(3, 3)), (torch.ones(2, 3),), dynamic_shapes=({0: torch.export.Dim("n")},)
    )
    torch.export.save(program, str(path))
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"network/{name}", content)
    return path


def saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def test_a_harmless_archive_loads(exported: dict[str, bytes], tmp_path: Path) -> None:
    network = load_network(write(tmp_path / "network.pt2", exported))
    assert network.origin.format == "pt2"


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_with_code_is_refused_by_name(tmp_path: Path, canary: Path, zipped: bool) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"weight": RunsCode(canary)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UntrustedFileError, match=r"posix\.system"):
        load_network(path, example=[X], factory="torch.nn:Identity")


def test_trust_runs_the_pickle(tmp_path: Path) -> None:
    path, fired = tmp_path / "weights.pt", tmp_path / "fired"
    torch.save({"weight": RunsCode(fired)}, path)
    with pytest.raises(NetworkError):
        load_network(path, example=[X], factory="torch.nn:Identity", trust_pickle=True)
    assert fired.exists()


def test_sample_inputs_are_unpickled_without_code(
    exported: dict[str, bytes], tmp_path: Path, canary: Path
) -> None:
    path = write(
        tmp_path / "a.pt2", exported | {"data/sample_inputs/model.pt": saved(((RunsCode(canary),), {}))}
    )
    with pytest.raises(UntrustedFileError, match=r"sample inputs .* posix\.system"):
        load_network(path)


def test_trust_unpickles_the_sample_inputs(exported: dict[str, bytes], tmp_path: Path) -> None:
    fired = tmp_path / "fired"
    path = write(
        tmp_path / "a.pt2", exported | {"data/sample_inputs/model.pt": saved(((RunsCode(fired),), {}))}
    )
    load_network(path, trust_pickle=True)
    assert fired.exists()


def test_archives_of_older_torch_hold_one_pickle_of_weights(
    exported: dict[str, bytes], tmp_path: Path, canary: Path
) -> None:
    config = "data/weights/model_weights_config.json"
    others = {name: content for name, content in exported.items() if name != config}
    weights = {"0.weight": nn.Parameter(torch.ones(3, 3)), "0.bias": nn.Parameter(torch.zeros(3))}
    old = write(tmp_path / "old.pt2", others | {"data/weights/model.pt": saved(weights)})
    graph = load_network(old).graph
    assert graph is not None
    torch.testing.assert_close(graph(torch.ones(2, 3)), torch.full((2, 3), 3.0))
    bad = write(
        tmp_path / "bad.pt2", others | {"data/weights/model.pt": saved(weights | {"x": RunsCode(canary)})}
    )
    with pytest.raises(UntrustedFileError, match=r"posix\.system"):
        load_network(bad)


def test_pickled_weights_are_unpickled_without_code(
    exported: dict[str, bytes], tmp_path: Path, canary: Path
) -> None:
    name = "data/weights/model_weights_config.json"
    config = json.loads(exported[name])
    for entry in config["config"].values():
        entry["use_pickle"] = True
    changed = {name: json.dumps(config).encode(), "data/weights/weight_0": saved(RunsCode(canary))}
    with pytest.raises(UntrustedFileError, match=r"posix\.system"):
        load_network(write(tmp_path / "a.pt2", exported | changed))


@pytest.mark.parametrize("member", ["opaque_obj_0", "custom_obj_0"])
def test_pickled_objects_among_the_constants_are_refused(
    exported: dict[str, bytes], tmp_path: Path, canary: Path, member: str
) -> None:
    entry = {"path_name": member, "is_param": False, "use_pickle": True, "tensor_meta": None}
    changed = {
        "data/constants/model_constants_config.json": json.dumps({"config": {"thing": entry}}).encode(),
        f"data/constants/{member}": pickle.dumps(RunsCode(canary)),
    }
    with pytest.raises(UntrustedFileError, match="'thing'"):
        load_network(write(tmp_path / "a.pt2", exported | changed))


def test_compiled_libraries_are_never_loaded(exported: dict[str, bytes], tmp_path: Path) -> None:
    library = {"data/aotinductor/model/library.so": b"\x7fELF"}
    assert read_pt2(write(tmp_path / "both.pt2", exported | library)).graph
    alone = {name: content for name, content in exported.items() if not name.startswith("models/")}
    with pytest.raises(NetworkError, match="compiled library"):
        load_network(write(tmp_path / "alone.pt2", alone | library))


CODE = "__import__('os').system('touch canary')"


def set_operator(text: str) -> Callable[[dict[str, Any]], None]:
    def change(program: dict[str, Any]) -> None:
        program["graph_module"]["graph"]["nodes"][-1]["target"] = text

    return change


def set_expression(text: str) -> Callable[[dict[str, Any]], None]:
    def change(program: dict[str, Any]) -> None:
        values = program["graph_module"]["graph"]["tensor_values"]
        values["x" if "x" in values else next(iter(values))]["sizes"][0] = {"as_expr": {"expr_str": text}}

    return change


def set_name(program: dict[str, Any]) -> None:
    program["graph_module"]["graph"]["nodes"][-1]["name"] = f"x={CODE}"


def set_placeholder(program: dict[str, Any]) -> None:
    program["graph_module"]["graph"]["inputs"][-1]["as_tensor"]["name"] = f"x={CODE}"


def set_weight(program: dict[str, Any]) -> None:
    specs = program["graph_module"]["signature"]["input_specs"]
    specs[0]["parameter"]["parameter_name"] = f'weight")+{CODE}+str("'


def set_argument_name(program: dict[str, Any]) -> None:
    program["graph_module"]["module_call_graph"][0]["signature"]["forward_arg_names"] = [f"x={CODE}"]


def set_container(spec: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    def change(program: dict[str, Any]) -> None:
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        signature["in_spec"] = json.dumps([1, spec | {"children_spec": []}])

    return change


ENUM = json.dumps([{"__enum__": True, "fqn": "antigravity:X", "name": "Y"}])


@pytest.mark.parametrize(
    "change",
    [
        set_operator("torch.os.system"),
        set_operator("torch.ops.load_library"),
        set_operator("torch.ops.aten.from_file.default"),
        set_operator("_operator.attrgetter"),
        set_operator("#extension:name"),
        set_expression(CODE),
        set_expression("Symbol('s0').__class__"),
        set_expression("eval('1')"),
        set_expression("[1 for _ in 'x']"),
        set_expression("Symbol('s0', commutative=open('canary', 'w'))"),
        set_name,
        set_placeholder,
        set_weight,
        set_argument_name,
        set_container({"type": "builtins.dict", "context": ENUM}),
        set_container({"type": "builtins.dict", "context": json.dumps([f"x={CODE}"])}),
    ],
)
def test_programs_that_could_run_code_are_refused(
    exported: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[dict[str, Any]], None],
) -> None:
    monkeypatch.chdir(tmp_path)
    program = json.loads(exported["models/model.json"])
    change(program)
    path = write(tmp_path / "a.pt2", exported | {"models/model.json": json.dumps(program).encode()})
    with pytest.raises(UntrustedFileError, match="could run code"):
        load_network(path)
    assert not (tmp_path / "canary").exists()


def test_guards_are_dropped(exported: dict[str, bytes]) -> None:
    program = json.loads(exported["models/model.json"])
    program["guards_code"] = [CODE]
    assert json.loads(checked_program(json.dumps(program).encode()))["guards_code"] == []


def test_devices_become_the_cpu(exported: dict[str, bytes], tmp_path: Path) -> None:
    name = "data/weights/model_weights_config.json"
    on_gpu = {
        each: exported[each].replace(b'"type": "cpu", "index": null', b'"type": "cuda", "index": 0')
        for each in (name, "models/model.json")
    }
    assert on_gpu[name] != exported[name]
    assert load_network(write(tmp_path / "a.pt2", exported | on_gpu)).trainable


def test_a_custom_operator_in_an_archive_is_named(exported: dict[str, bytes], tmp_path: Path) -> None:
    program = json.loads(exported["models/model.json"])
    node = program["graph_module"]["graph"]["nodes"][-1]
    node["target"] = "torch.ops.mine.twice.default"
    node["metadata"]["stack_trace"] = '  File "/home/me/net.py", line 12, in forward\n'
    path = write(tmp_path / "a.pt2", exported | {"models/model.json": json.dumps(program).encode()})
    with pytest.raises(LiftError, match=r"'mine::twice' at /home/me/net.py:12"):
        load_network(path)


@pytest.mark.parametrize("member", ["models/model.json", "data/weights/model_weights_config.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 100_000, b'{"config": {"a": 3}}', b"\xff"])
def test_other_json_is_a_damaged_file(
    exported: dict[str, bytes], tmp_path: Path, member: str, content: bytes
) -> None:
    with pytest.raises(NetworkError):
        load_network(write(tmp_path / "a.pt2", exported | {member: content}))


def test_weights_without_values_allocate_nothing(exported: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match="no values"):
        load_network(write(tmp_path / "a.pt2", exported | {"data/weights/weight_0": b""}))


# --- TorchScript --------------------------------------------------------------------------------------------


class WritesInForward(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "canary")
        return x


class WritesWhenLoaded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    @torch.jit.export
    def __getstate__(self) -> tuple[torch.Tensor, bool]:
        return self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]) -> None:
        torch.save(state[0], "canary")
        self.weight = state[0]
        self.training = state[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", [WritesInForward, WritesWhenLoaded])
def test_torchscript_that_writes_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[nn.Module]
) -> None:
    torch.jit.save(torch.jit.script(kind()), tmp_path / "network.ts")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(UntrustedFileError, match=r"'save'|__setstate__"):
        load_network(tmp_path / "network.ts", example=[X])
    assert not list(Path.cwd().iterdir())
    assert read_torchscript(tmp_path / "network.ts", trust_pickle=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("torch . save(x, 'canary')", UntrustedFileError),
        ("x = torch.add(x, torch.from_file('canary', True, 9))", UntrustedFileError),
        ("ops.c10d.barrier(x)", LiftError),
        ("y = __torch__.torch.classes.quantized.Thing(x)", LiftError),
    ],
)
def test_code_is_judged_before_it_runs(tmp_path: Path, code: str, error: type[NetworkError]) -> None:
    torch.jit.save(torch.jit.script(nn.ReLU()), tmp_path / "a.ts")
    with zipfile.ZipFile(tmp_path / "a.ts") as archive:
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    name = next(name for name in members if name.endswith(".py"))
    members[name] += f"  def other(self, x: Tensor) -> Tensor:\n    {code}\n    return x\n".encode()
    with pytest.raises(error):
        load_network(write(tmp_path / "b.ts", members), example=[X])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("true", "false"),
    [
        (b"K\x0ct", b"M\xff\x7ft"),  # the number of elements in a storage, 12
        (b"(K\x04K\x03t", b"(M\x04\x04K\x03t"),  # a shape, (4, 3)
        (b"(K\x03K\x01t", b"(M\x03\x04K\x01t"),  # strides
        (b"q\x07K\x00(", b"q\x07M\x00\x04("),  # an offset
    ],
)
def test_tensors_that_reach_beyond_their_records_are_refused(
    tmp_path: Path, true: bytes, false: bytes
) -> None:
    torch.jit.save(torch.jit.script(nn.Linear(3, 4)), tmp_path / "a.ts")
    with zipfile.ZipFile(tmp_path / "a.ts") as archive:
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert members["data.pkl"].count(true) == 1
    assert read_torchscript(write(tmp_path / "same.ts", members))
    members["data.pkl"] = members["data.pkl"].replace(true, false)
    with pytest.raises(NetworkError, match="damaged"):
        load_network(write(tmp_path / "b.ts", members), example=[X])


def test_damaged_sample_inputs_are_damage_and_not_distrust(
    exported: dict[str, bytes], tmp_path: Path
) -> None:
    for content in (saved((torch.ones(2, 3),))[:-40], b"\x80\x02K", b"PK\x03\x04"):
        with pytest.raises(NetworkError, match="damaged") as caught:
            load_network(write(tmp_path / "a.pt2", exported | {"data/sample_inputs/model.pt": content}))
        assert type(caught.value) is NetworkError


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_weight_whose_name_is_code_is_refused(tmp_path: Path) -> None:
    module = nn.Module()
    module.register_parameter("x+print()", nn.Parameter(torch.ones(3)))
    module.forward = lambda x: x * getattr(module, "x+print()")
    torch.jit.save(torch.jit.trace(module, torch.ones(2, 3), check_trace=False), tmp_path / "a.ts")
    with pytest.raises(UntrustedFileError, match="the name"):
        load_network(tmp_path / "a.ts", example=[X])
