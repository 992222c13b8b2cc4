"""TorchScript is judged by what torch compiled of it, and by nothing that its text can hide."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from compress.errors import NetworkError, UntrustedFileError
from compress.network import load_network
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
    assert "'Code/__torch__.py'" in refusal(NetworkError, path, example=[torch.ones(2, 3).numpy()]).found
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
