"""TorchScript is judged by what torch compiled of it, and by nothing that its text can hide."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from compress.errors import NetworkError, UntrustedFileError
from compress.network.formats import first_reading
from compress.network.network import load_network
from tests.loading import refusal

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CALL = b"return torch.mul(x, 2)"


class Doubles(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def rewritten(path: Path, code: str, folder: str = "code") -> Path:
    """A network whose ``forward`` has this code before it returns."""
    torch.jit.save(torch.jit.script(Doubles()), path / "plain")
    with zipfile.ZipFile(path / "plain") as plain, zipfile.ZipFile(path / "written", "w") as written:
        for name in plain.namelist():
            content = plain.read(name)
            if name.endswith(".debug_pkl"):
                continue
            content = content.replace(CALL, f"{code}\n    ".encode() + CALL)
            written.writestr(name.replace("/code/", f"/{folder}/"), content)
        if folder != "code":
            written.writestr("plain/code/x", b"")
    return path / "written"


@pytest.mark.parametrize(
    "code",
    [
        "torch.save(x, 'made')",
        "torch.\\\nsave(x, 'made')",
        "(torch. # comment\n      save(x, 'made'))",
        "if bool(torch.any(x)):\n      torch.save(x, 'made')",
    ],
)
def test_writing_files_is_found_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = rewritten(tmp_path, code)
    with pytest.raises(UntrustedFileError, match="'save'"):
        load_network(path, example=[torch.ones(2, 3).numpy()])
    assert not (tmp_path / "made").exists()


def test_members_are_named_as_torch_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = rewritten(tmp_path, "torch.save(x, 'made')", "Code")
    assert "'Code/__torch__" in refusal(NetworkError, path, example=[torch.ones(2, 3).numpy()]).found
    assert not (tmp_path / "made").exists()


def test_a_layer_that_is_called_save_is_a_layer(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.save = nn.Linear(3, 4)
            self.from_file = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.from_file(self.save(x))

    torch.jit.save(torch.jit.script(Net()), tmp_path / "network")
    graph = load_network(tmp_path / "network", example=[torch.ones(2, 3).numpy()]).graph
    assert graph is not None
    assert {"save", "from_file"} <= {name for name, _ in graph.named_children()}


def test_a_hook_that_writes_files_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hook(self: nn.Module, given: tuple[torch.Tensor], made: torch.Tensor) -> torch.Tensor:
        torch.save(made, "made")
        return made

    monkeypatch.chdir(tmp_path)
    hook.__annotations__ = {"given": tuple[torch.Tensor], "made": torch.Tensor, "return": torch.Tensor}
    module = Doubles()
    module.register_forward_hook(hook)
    torch.jit.save(torch.jit.script(module), tmp_path / "network")
    refusal(UntrustedFileError, tmp_path / "network", example=[torch.ones(2, 3).numpy()])
    assert not (tmp_path / "made").exists()


def test_code_that_would_end_the_parser_is_refused(tmp_path: Path) -> None:
    path = rewritten(tmp_path, f"y = {'(' * 100_000}x{')' * 100_000}")
    assert "nested" in refusal(NetworkError, path, example=[torch.ones(2, 3).numpy()]).wanted


def test_two_members_that_differ_in_case_are_one_to_torch(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Doubles()), tmp_path / "network")
    with zipfile.ZipFile(tmp_path / "network", "a") as archive:
        archive.writestr("network/DATA.PKL", archive.read("network/data.pkl"))
    told = refusal(NetworkError, tmp_path / "network", example=[torch.ones(2, 3).numpy()])
    assert "'data.pkl' and 'DATA.PKL'" in told.found


def test_what_users_keep_beside_a_network_is_left_out(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(Doubles()), tmp_path / "network", _extra_files={"notes/über.txt": "x"})
    assert load_network(tmp_path / "network", example=[torch.ones(2, 3).numpy()]).trainable


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02Nr" + struct.pack("<I", 0x18000000) + b".",  # a memo of gigabytes
        b"\x80\x02)" + b"\x85" * 100_000 + b".",  # tuples in tuples
        b"\x80\x02)" + b"q\x000h\x00h\x00\x86" * 60 + b".",  # each holding the one before twice
        b"\x80\x02]q\x00h\x00a.",  # a list that holds itself
    ],
)
@pytest.mark.parametrize("member", ["constants.pkl", "data.pkl", "code/__torch__/x.py.debug_pkl"])
def test_pickles_are_bounded_before_torch_sees_them(tmp_path: Path, pickled: bytes, member: str) -> None:
    torch.jit.save(torch.jit.script(Doubles()), tmp_path / "plain")
    with zipfile.ZipFile(tmp_path / "plain") as plain, zipfile.ZipFile(tmp_path / "written", "w") as written:
        for name in plain.namelist():
            if not name.endswith(member):
                written.writestr(name, plain.read(name))
        written.writestr(f"plain/{member}", pickled)
    assert member in refusal(NetworkError, tmp_path / "written", example=[torch.ones(2, 3).numpy()]).found


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("while True:\n      x = torch.add(x, 1)", "a loop that nothing ends"),
        ("going = bool(torch.any(x))\n    while going:\n      x = torch.add(x, 1)", "took more than"),
        ("x = torch.add(x, torch.sum(torch.zeros([1000000, 1000000])))", "fails: "),
    ],
)
def test_what_never_ends_or_takes_all_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, told: str
) -> None:
    monkeypatch.setitem(first_reading._SECONDS, "torchscript", 2)
    path = rewritten(tmp_path, code)
    assert told in str(refusal(NetworkError, path, example=[torch.ones(2, 3).numpy()]))
