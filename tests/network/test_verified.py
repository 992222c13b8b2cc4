"""Lifting is held against the network on noise and on the given example, at the tolerance of its arithmetic."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from compress.errors import LiftError
from compress.network.equivalence import agree, computes_in_half, difference, noise_like
from compress.network.network import load_network
from tests.lifting import lifted


class Encoder(nn.Module):
    def __init__(self, *, nested: bool, mean: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested)
        self.mean = mean

    def forward(self, x: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
        y = self.encoder(x, src_key_padding_mask=padding)
        return y.mean(1) if self.mean else y[:, 0]


def example() -> dict[str, torch.Tensor]:
    padding = torch.zeros(4, 7, dtype=torch.bool)
    padding[:, 5:] = True
    return {"x": torch.randn(4, 7, 16, generator=torch.Generator().manual_seed(0)), "padding": padding}


def test_a_path_that_only_inference_takes_is_refused_with_a_way_out() -> None:
    with pytest.raises(LiftError) as caught:
        load_network(
            Encoder(nested=True, mean=True).eval(),
            example={name: each.numpy() for name, each in example().items()},
        )
    assert "of their largest value apart on the given data" in caught.value.found
    assert "enable_nested_tensor=False" in caught.value.todo


@pytest.mark.parametrize(("nested", "mean"), [(False, True), (True, False)])
def test_an_encoder_that_leaves_padding_out_is_lifted(nested: bool, mean: bool) -> None:
    module, given = Encoder(nested=nested, mean=mean).eval(), example()
    network = load_network(module, example={name: each.numpy() for name, each in given.items()})
    assert network.graph is not None
    with torch.no_grad():
        torch.testing.assert_close(
            network.graph(*given.values()), module(*given.values()), rtol=1e-4, atol=1e-5
        )


def test_half_precision_inside_gets_its_own_tolerance() -> None:
    class Inside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(8, 8).half(), nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.first(x.half()).float())

    x = torch.randn(4, 8)
    graph, _, _ = lifted(Inside().eval(), x.numpy())
    assert computes_in_half(graph)
    with torch.no_grad():
        expected = graph(x)
    assert agree(graph, [x], [expected + 1e-3])
    assert not agree(graph, [x], [expected + 1])
    plain, _, _ = lifted(nn.Linear(8, 4).eval(), x.numpy())
    assert not computes_in_half(plain)
    with torch.no_grad():
        assert not agree(plain, [x], [plain(x) + 1e-3])


def test_half_precision_inside_exports() -> None:
    class Scales(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 64)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x.half().float() @ torch.eye(64)).half().float()

    assert load_network(Scales().eval(), example=[torch.randn(4, 64).numpy()]).to_onnx().graph.node


def test_differences_are_told_in_words() -> None:
    one, other = torch.tensor([1.0, 2.0]), torch.tensor([1.0, torch.nan])
    assert difference([one], [one * 2]) == "up to 0.5 of their largest value"
    assert difference([one], [other]) == "NaN in one of them,"
    assert difference([one], [one[:1]]) == "torch.float32[2] in place of torch.float32[1],"
    assert difference([one], []) == "1 in place of 0"


@pytest.mark.parametrize("saved", [False, True])
def test_what_vmap_maps_over_is_carried_out(tmp_path: Path, saved: bool) -> None:
    class Ensemble(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = nn.Parameter(torch.randn(3, 5, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            of_all = torch.vmap(lambda weight: nn.functional.linear(x, weight))(self.weights)
            return torch.vmap(lambda row: row * 2)(of_all.mean(0))

    module, x = Ensemble().eval(), torch.randn(4, 6)
    source: nn.Module | Path = module
    if saved:
        source = tmp_path / "network.pt2"
        shapes = ({0: torch.export.Dim("rows", min=1)},)
        torch.export.save(torch.export.export(module, (x,), dynamic_shapes=shapes), source)
    network = load_network(source, example=[x.numpy()])
    assert network.graph is not None
    torch.testing.assert_close(network.graph(x[:3]), module(x[:3]))
    assert network.to_onnx().graph.node


class Categories(nn.Module):
    """A table's columns, each of which numbers its own categories."""

    def __init__(self, sizes: tuple[int, ...] = (3, 40, 500), axis: int = 1) -> None:
        super().__init__()
        self.axis = axis
        self.tables = nn.ModuleList(nn.Embedding(size, 4) for size in sizes)
        self.last = nn.Linear(4 * len(sizes), 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = x.unbind(self.axis)
        return self.last(
            torch.cat([table(column) for table, column in zip(self.tables, columns, strict=True)], -1)
        )


@pytest.mark.parametrize(
    ("axis", "shape"), [(1, (6, 3)), (1, (6, 3, 5)), (2, (6, 5, 3))], ids=["columns", "rows", "last"]
)
def test_each_column_of_integers_keeps_to_its_own_categories(axis: int, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = (3, 40, 500)
    x = torch.stack(
        [torch.randint(size, (*shape[:axis], *shape[axis + 1 :]), generator=generator) for size in sizes],
        axis,
    )
    module = Categories(sizes, axis).eval()
    network = load_network(module, example=[x.numpy()])
    assert network.graph is not None
    network.to_onnx()  # which is held against the graph on noise, too
    with torch.no_grad():
        torch.testing.assert_close(network.graph(x), module(x))


def test_noise_draws_integers_from_their_place_and_all_where_samples_are_equal() -> None:
    x = torch.tensor([[0, 100], [1, 101], [2, 102], [3, 103]])
    noise = noise_like(x, 50, seed=0)
    assert noise.shape == (50, 2)
    assert set(noise[:, 0].tolist()) == {0, 1, 2, 3}
    assert set(noise[:, 1].tolist()) == {100, 101, 102, 103}
    assert len({tuple(row) for row in noise.tolist()}) > 4
    equal = torch.tensor([[True, False, True]] * 4)
    assert len({tuple(row) for row in noise_like(equal, 50, seed=0).tolist()}) > 1
    along = noise_like(x, 9, seed=0, axis=1)
    assert all(set(row.tolist()) <= set(own.tolist()) for row, own in zip(along, x, strict=True))
