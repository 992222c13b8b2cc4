"""Outputs of a ``.pt2`` in containers of any class, read by the names in the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compress.network.formats.pt2_containers import plain_containers
from compress.network.network import load_network

# In a process of its own: the classes are registered where the file is written, and unknown where it is read.
WRITER = """
import collections, dataclasses, sys, torch
from typing import NamedTuple
from torch import nn
from torch.utils import _pytree

@dataclasses.dataclass
class Output:
    logits: torch.Tensor
    hidden: torch.Tensor
    loss: torch.Tensor = None

class Pair(NamedTuple):
    one: torch.Tensor
    other: torch.Tensor

torch.export.register_dataclass(Output, serialized_type_name="somewhere.Output")
_pytree._register_namedtuple(Pair, serialized_type_name="somewhere.Pair")
MAKE = {
    "dataclass": lambda y: Output(y, y * 2),
    "keys": lambda y: {"class.scores": y, "boxes/score": [y * 2]},
    "defaultdict": lambda y: collections.defaultdict(list, a=y),
    "deque": lambda y: collections.deque([y, y * 2], maxlen=3),
    "named tuple": lambda y: Pair(y, y * 2),
}

class Net(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.layer, self.make = nn.Linear(6, 5), make

    def forward(self, x, more):
        return self.make(self.layer(x) + more["p/q"])

x = torch.ones(3, 6)
for name, make in MAKE.items():
    torch.export.save(torch.export.export(Net(make), (x, {"p/q": torch.ones(3, 5)})), f"{sys.argv[1]}/{name}.pt2")
"""
NAMES = {
    "dataclass": ["logits", "hidden"],
    "keys": ["class_scores", "boxes_score_0"],
    "defaultdict": ["a"],
    "deque": ["output_0", "output_1"],
    "named tuple": ["output_0", "output_1"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("containers")
    subprocess.run([sys.executable, "-c", WRITER, str(made)], check=True, capture_output=True)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_outputs_in_any_container(folder: Path, name: str) -> None:
    network = load_network(folder / f"{name}.pt2")
    assert [spec.name for spec in network.outputs] == NAMES[name]
    assert [spec.name for spec in network.inputs] == ["x", "more_p_q"]


LEAF = {"type": None, "context": None, "children_spec": []}


def described(kind: str, context: Any, leaves: int = 1) -> str:
    return json.dumps([1, {"type": kind, "context": context, "children_spec": [LEAF] * leaves}])


@pytest.mark.parametrize(
    ("kind", "context", "expected", "keys"),
    [
        ("a.Output", '[["x", "y"], ["z"]]', "builtins.dict", ["x", "y"]),
        ("a.Output", '["x", "y"]', "builtins.dict", ["x", "y"]),
        ("a.Output", '["x"]', "builtins.list", None),
        ("a.Output", "no JSON", "builtins.list", None),
        ("a.Output", '[{"__enum__": true, "fqn": "antigravity:X", "name": "Y"}, 1]', "builtins.list", None),
        ("collections.OrderedDict", '["x", 3]', "collections.OrderedDict", ["x", 3]),
        (
            "collections.defaultdict",
            {
                "default_factory_module": "antigravity",
                "default_factory_name": "X",
                "dict_context": ["x", "y"],
            },
            "builtins.dict",
            ["x", "y"],
        ),
    ],
)
def test_no_class_of_the_file_is_left(kind: str, context: Any, expected: str, keys: Any) -> None:
    _, spec = json.loads(plain_containers(described(kind, context, leaves=2), inputs=False))
    assert (spec["type"], json.loads(spec["context"])) == (expected, keys)
    assert "antigravity" not in json.dumps(spec)


@pytest.mark.parametrize(
    ("kind", "context"),
    [
        ("builtins.dict", '["x=f()"]'),
        ("builtins.dict", '["x", "y"]'),
        ("builtins.dict", '[{"__enum__": true, "fqn": "antigravity:X", "name": "Y"}]'),
        ("builtins.dict", "null"),
        (None, '["x"]'),
    ],
)
def test_keys_are_as_many_names(kind: str, context: str) -> None:
    with pytest.raises(ValueError, match=r"keys|fields"):
        plain_containers(described(kind, context), inputs=False)


def test_arguments_have_names_that_python_has() -> None:
    arguments = {"type": "builtins.dict", "context": '["a b"]', "children_spec": [LEAF]}
    nothing = {"type": "builtins.tuple", "context": "null", "children_spec": []}
    spec = {"type": "builtins.tuple", "context": "null", "children_spec": [nothing, arguments]}
    with pytest.raises(ValueError, match="the argument 'a b'"):
        plain_containers(json.dumps([1, spec]), inputs=True)
