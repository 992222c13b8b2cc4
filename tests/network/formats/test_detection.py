from __future__ import annotations

import io
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from compress.errors import CompressError, NetworkError
from compress.network.formats.detection import sniff
from compress.network.formats.pickles import NotAPickleError, unsafe_globals


class RunsCode:
    """What a pickle of this calls is ``os.system``."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, ("touch canary",)


def onnx_model() -> onnx.ModelProto:
    x, y = (onnx.helper.make_tensor_value_info(name, 1, ["n", 3]) for name in "xy")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "graph", [x], [y])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=10)


def write_all(folder: Path) -> dict[str, str]:
    """Every format under a misleading ending; file name → format."""
    module = nn.Sequential(nn.Linear(3, 3)).eval()
    state = module.state_dict()
    x = torch.ones(2, 3)
    torch.export.save(torch.export.export(module, (x,)), str(folder / "exported.pt2"))
    (folder / "exported.pt2").rename(folder / "exported.onnx")
    torch.jit.save(torch.jit.script(module), folder / "scripted.pth")
    torch.jit.save(torch.jit.trace(module, x), folder / "traced.pt2")
    torch.save(state, folder / "state.onnx")
    torch.save(state, folder / "legacy_state.bin", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": state, "epoch": 3}, folder / "checkpoint.ts")
    safetensors.torch.save_file(state, folder / "safe.pt")
    torch.save(module, folder / "module.pt")
    torch.save(module, folder / "legacy_module.pt", _use_new_zipfile_serialization=False)
    onnx.save(onnx_model(), folder / "model.pt")
    return {
        "exported.onnx": "pt2",
        "scripted.pth": "torchscript",
        "traced.pt2": "torchscript",
        "state.onnx": "state_dict",
        "legacy_state.bin": "state_dict",
        "checkpoint.ts": "state_dict",
        "safe.pt": "safetensors",
        "module.pt": "pickle",
        "legacy_module.pt": "pickle",
        "model.pt": "onnx",
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("sniff")
    assert write_all(made).keys() == {path.name for path in made.iterdir()}
    return made


def test_content_decides_and_not_the_ending(folder: Path, tmp_path: Path) -> None:
    expected = write_all(tmp_path)
    assert {name: sniff(tmp_path / name).format for name in expected} == expected


def test_a_pickled_module_names_what_it_calls(folder: Path) -> None:
    for name in ("module.pt", "legacy_module.pt"):
        assert sniff(folder / name).unsafe_globals == (
            "torch.nn.modules.container.Sequential",
            "torch.nn.modules.linear.Linear",
        )
    assert sniff(folder / "checkpoint.ts").unsafe_globals == ()


@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))
def test_code_is_seen_in_every_protocol(protocol: int) -> None:
    for value in (RunsCode(), [RunsCode(), RunsCode()], {"os": "system", "x": RunsCode()}):
        assert unsafe_globals(io.BytesIO(pickle.dumps(value, protocol))) == ["posix.system"]


def test_a_name_that_the_pickle_computes_is_not_taken_for_a_harmless_one() -> None:
    # Pushes "collections" and "OrderedDict", takes them off again, and calls what lies below: os.system.
    hidden = (
        b"\x80\x04\x8c\x02os\x8c\x06system(\x8c\x0bcollections\x8c\x0bOrderedDict1\x93\x8c\x05touch\x85R."
    )
    (name,) = unsafe_globals(io.BytesIO(hidden))
    assert name == "a name computed by the pickle"


def test_memoized_names_are_followed() -> None:
    reused = b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x940h\x00h\x01\x93."
    assert unsafe_globals(io.BytesIO(reused)) == ["os.system"]


def test_what_a_pickle_calls_comes_before_the_types_of_plain_values() -> None:
    """A trainer's checkpoint names the classes of its settings, and among them dict and int."""
    content = [dict, int, list, eval]
    for protocol in (0, 2, 4):
        names = unsafe_globals(io.BytesIO(pickle.dumps(content, protocol)))
        assert names[0].endswith(".eval")
        assert len(names) == 4


@given(st.binary(max_size=200))
def test_scanning_any_bytes_ends_in_names_or_in_a_refusal(content: bytes) -> None:
    with suppress(NotAPickleError):
        unsafe_globals(io.BytesIO(b"\x80\x04" + content))


def refusal(path: Path) -> NetworkError:
    with pytest.raises(NetworkError) as caught:
        sniff(path)
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_missing_file_suggests_its_neighbours(folder: Path) -> None:
    assert "did you mean module.pt" in refusal(folder / "modul.pt").todo
    assert "no such folder" in refusal(folder / "nowhere" / "module.pt").found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
        (b"\x1c\0\0\0TFL3" + bytes(64), "TensorFlow Lite"),
        (b"GGUF" + bytes(64), "GGUF"),
        (b"hello, this is no network", "none of these"),
        (bytes(4096), "none of these"),
        (b"\x80\x02", "damaged"),
        (b"PK\x03\x04 and nothing more", "damaged"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path: Path, content: bytes, found: str) -> None:
    path = tmp_path / "file.pt"
    path.write_bytes(content)
    assert found in refusal(path).found


def test_archives_without_a_network(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", x=np.ones(3))
    assert "NumPy arrays" in refusal(tmp_path / "arrays.npz").found
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
    assert "older torch" in refusal(tmp_path / "old.pt2").found


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    assert "a directory" in refusal(tmp_path).found
    (tmp_path / "saved_model.pb").touch()
    assert "TensorFlow" in refusal(tmp_path).found


def test_a_zip_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(200 * 2**20))
    assert bomb.stat().st_size < 2**20
    assert "210 MB announced" in refusal(bomb).found


def test_two_members_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"harmless")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("archive/data.pkl", b"not")
    assert "two members have one name" in refusal(path).found


def test_a_pickle_that_announces_more_than_it_holds_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "huge.pt"
    path.write_bytes(b"\x80\x04\x8e" + (2**62).to_bytes(8, "little") + b"few")
    assert "damaged" in refusal(path).found


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_files_never_raise_anything_else(folder: Path, tmp_path: Path, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(sorted(folder.iterdir())))
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    with suppress(CompressError):
        sniff(path)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prefix=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x04", b"\x08\x0a", b"\x0a", bytes(7) + b"{"]),
    rest=st.binary(),
)
def test_random_files_never_raise_anything_else(tmp_path: Path, prefix: bytes, rest: bytes) -> None:
    path = tmp_path / "random"
    path.write_bytes(prefix + rest)
    with suppress(CompressError):
        sniff(path)
