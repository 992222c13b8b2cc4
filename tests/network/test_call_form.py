"""A network that is written is called as the one that was given, gives back the same, and has the same axes open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.utils import _pytree as pytree

from compress.network.network import load_network
from compress.network.saving import save_network

IMAGE = torch.randn(2, 3, 16, 20)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x):
        return self.conv(x)


class Halved(Plain):
    def forward(self, x):
        return self.conv(nn.functional.max_pool2d(x, 2))


class Rich(Plain):
    def forward(self, x, pair, flag: bool = False, *, mask):
        return {"out": self.conv(x) * mask + pair[0], "rest": (pair[1] * 2, None, 3)}


class Listed(Plain):
    def forward(self, x):
        return [self.conv(x)]


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(40, 16)
        self.layer = nn.Linear(16, 5)

    def forward(self, ids, mask):
        scores = self.layer(self.table(ids) * mask[..., None])
        return {"logits": scores, "pooled": scores.mean(1)}


def exported(
    path: Path, module: nn.Module, args: tuple, kwargs: dict | None = None, shapes: Any = None
) -> Path:
    program = torch.export.export(module.eval(), args, kwargs, dynamic_shapes=shapes)
    torch.export.save(program, path / "given.pt2")
    return path / "given.pt2"


def rewritten(source: Any, path: Path, example: Any = None) -> Callable[..., Any]:
    """The network read, written and read again by torch alone; what compress reads of both is the same."""
    network = load_network(source, example=example)
    save_network(network, path / "written.pt2")
    again = load_network(path / "written.pt2", example=example)
    assert [spec.name for spec in again.inputs] == [spec.name for spec in network.inputs]
    assert [spec.name for spec in again.outputs] == [spec.name for spec in network.outputs]
    for one, other in zip(again.inputs, network.inputs, strict=True):
        assert [isinstance(size, int) for size in one.shape] == [
            isinstance(size, int) for size in other.shape
        ]
    return torch.export.load(path / "written.pt2").module()


def same(found: Any, wanted: Any) -> None:
    ours, our_spec = pytree.tree_flatten(found)
    theirs, their_spec = pytree.tree_flatten(wanted)
    assert our_spec == their_spec
    for one, other in zip(ours, theirs, strict=True):
        if isinstance(other, torch.Tensor):
            torch.testing.assert_close(one, other)
        else:
            assert one == other


H, W, N = Dim("h", min=4, max=64), Dim("w", min=4, max=64), Dim("n")
TOKENS = (torch.randint(0, 40, (2, 12)), torch.ones(2, 12))
EVEN = 2 * Dim("half", min=2, max=32)


@pytest.mark.parametrize(
    ("module", "args", "shapes", "others"),
    [
        (
            Plain(),
            (IMAGE,),
            {"x": {0: N, 2: H, 3: W}},
            [(torch.randn(5, 3, 24, 12),), (torch.randn(1, 3, 64, 4),)],
        ),
        (Plain(), (IMAGE[:1],), {"x": {2: H}}, [(torch.randn(1, 3, 24, 20),)]),  # the batch fixed, and freed
        (Halved(), (IMAGE,), {"x": {0: N, 2: EVEN}}, [(torch.randn(3, 3, 24, 20),)]),
        (Listed(), (IMAGE,), {"x": {0: N}}, [(torch.randn(3, 3, 16, 20),)]),
        (
            Tokens(),
            TOKENS,
            {"ids": {0: N, 1: Dim("t", min=2)}, "mask": {0: N, 1: Dim("t", min=2)}},
            [(torch.randint(0, 40, (3, 30)), torch.ones(3, 30))],
        ),
    ],
    ids=["height and width", "fixed batch", "even", "list", "tokens"],
)
def test_open_axes_and_structure_are_kept(tmp_path, module, args, shapes, others) -> None:
    network = rewritten(exported(tmp_path, module, args, shapes=shapes), tmp_path)
    for other in (args, *others):
        same(network(*other), module(*other))


def test_the_ends_of_an_open_axis_are_kept(tmp_path: Path) -> None:
    network = rewritten(exported(tmp_path, Plain(), (IMAGE,), shapes={"x": {0: N, 2: H}}), tmp_path)
    with pytest.raises(AssertionError, match="64"):
        network(torch.randn(2, 3, 65, 20))


def test_arguments_stay_by_position_by_keyword_in_tuples_and_beside_values(tmp_path: Path) -> None:
    module = Rich().eval()
    pair, mask = (torch.ones(2, 1, 1, 1), torch.ones(2, 1)), torch.ones(2, 1, 1, 1)
    network = rewritten(exported(tmp_path, module, (IMAGE, pair, True), {"mask": mask}), tmp_path)
    same(network(IMAGE, pair, True, mask=mask), module(IMAGE, pair, True, mask=mask))


def test_what_was_exported_by_keyword_is_called_by_keyword(tmp_path: Path) -> None:
    module = Plain().eval()
    network = rewritten(exported(tmp_path, module, (), {"x": IMAGE}), tmp_path)
    same(network(x=IMAGE), module(IMAGE))


def test_a_module_is_written_to_be_called_by_position(tmp_path: Path) -> None:
    module = Tokens().eval()
    example = {"ids": TOKENS[0].numpy(), "mask": TOKENS[1].numpy()}
    same(rewritten(module, tmp_path, example)(*TOKENS), module(*TOKENS))


def test_what_a_module_takes_by_keyword_alone_stays_so(tmp_path: Path) -> None:
    class Masked(Plain):
        def forward(self, x, scale=None, *, mask):
            return self.conv(x) * mask, self.conv(x)

    module, mask = Masked().eval(), torch.ones(2, 1, 1, 1)
    network = rewritten(module, tmp_path, {"x": IMAGE.numpy(), "mask": mask.numpy()})
    same(network(IMAGE, mask=mask), module(IMAGE, mask=mask))


def test_a_call_that_leaves_arguments_out_names_those_it_gives(tmp_path: Path) -> None:
    """As ``model(**batch)`` does; a module that is called so cannot be called by position alone."""

    class Gapped(Plain):
        def forward(self, x, cache=None, mask=None):
            return self.conv(x) * (1 if mask is None else mask)

    module, mask = Gapped().eval(), torch.full((2, 1, 1, 1), 0.5)
    network = rewritten(module, tmp_path, {"x": IMAGE.numpy(), "mask": mask.numpy()})
    same(network(x=IMAGE, mask=mask), module(x=IMAGE, mask=mask))
    same(rewritten(module, tmp_path, {"x": IMAGE.numpy()})(IMAGE), module(IMAGE))


@pytest.mark.parametrize("scripted", [True, False])
def test_torchscript_gives_back_what_it_gave(tmp_path: Path, scripted: bool) -> None:
    class Two(Plain):
        def forward(self, x):
            return self.conv(x), self.conv(x).mean((2, 3))

    module = Two().eval()
    script = torch.jit.script(module) if scripted else torch.jit.trace(module, IMAGE)
    torch.jit.save(script, tmp_path / "given.pt")
    same(rewritten(tmp_path / "given.pt", tmp_path, [np.asarray(IMAGE)])(IMAGE), module(IMAGE))


def test_a_name_of_layers_is_kept(tmp_path: Path) -> None:
    network = load_network(exported(tmp_path, Plain(), (IMAGE,)))
    save_network(network, tmp_path / "written.pt2")
    assert set(torch.export.load(tmp_path / "written.pt2").state_dict) == {"conv.weight", "conv.bias"}


def test_a_class_that_a_module_returns_becomes_a_dict_in_its_file(tmp_path: Path) -> None:
    @dataclass
    class Scores:
        logits: torch.Tensor
        hidden: tuple

    torch.export.register_dataclass(Scores, serialized_type_name="test_call_form.Scores")

    class Classed(Plain):
        def forward(self, x):
            return Scores(self.conv(x), (x, None))

    found = rewritten(Classed().eval(), tmp_path, [IMAGE.numpy()])(IMAGE)
    assert set(found) == {"logits", "hidden"}
    assert found["hidden"][1] is None
