"""The module of torch computes what the graph does, whole and with parts removed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compress.errors import RecipeError
from compress.language.config import DecoderConfig
from compress.language.decoder_network import Arrays
from compress.language.documents import empty_cache, fed
from compress.language.graph import decoder_model
from compress.language.structure import Structure, pruned_arrays, pruned_config
from compress.language.weights import Weights, expected_shapes, open_language_model
from compress.network.formats.onnx_file import read_specs
from compress.onnx_graph.sessions import open_session
from tests.language.tiny import KINDS, tiny

torch = pytest.importorskip("torch")


def graph_logits(config: DecoderConfig, weights: Weights, ids: np.ndarray) -> np.ndarray:
    model = decoder_model(config, weights)

    class Specs:
        inputs, outputs = read_specs(model)

    return open_session(model).run(None, fed(ids, empty_cache(Specs(), len(ids))))[0]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_the_module_computes_what_the_graph_does(kind: str, tmp_path: Path):
    from compress.language.module import DecoderModule

    tiny(tmp_path, kind)
    model = open_language_model(tmp_path)
    ids = np.random.default_rng(0).integers(0, 101, (2, 12))
    module = DecoderModule(model.config, model.weights)
    found = module(torch.from_numpy(ids)).detach().numpy()
    wanted = graph_logits(model.config, model.weights, ids)
    assert found == pytest.approx(wanted, abs=1e-4 * float(np.abs(wanted).max()))
    again = module.arrays()
    assert again.keys() == expected_shapes(model.config).keys()
    assert all(np.array_equal(again[name], model.weights[name]) for name in again)


@pytest.mark.parametrize("kind", ["llama", "llama, biases", "qwen3", "mistral, window", "gpt2"])
def test_a_slice_computes_what_gates_do(kind: str, tmp_path: Path):
    """Without a layer, some neurons and a group of heads, against the whole module with these at zero."""
    from compress.language.module import DecoderModule

    if kind not in KINDS:
        pytest.skip("no such kind here")
    tiny(tmp_path, kind, **({"n_layer": 3} if kind == "gpt2" else {"num_hidden_layers": 3}))
    model = open_language_model(tmp_path)
    config, random = model.config, np.random.default_rng(1)
    layers = (0, 2)
    neurons = tuple(np.sort(random.permutation(config.intermediate)[:count]) for count in (32, 48))
    groups = tuple(np.array([each]) for each in (1, 0))
    structure = Structure(layers, neurons, groups)
    smaller = pruned_config(config, structure)
    arrays = pruned_arrays(config, {name: model.weights[name] for name in expected_shapes(config)}, structure)
    weights = Weights(smaller, Arrays(arrays))
    assert (smaller.layers, smaller.kv_heads, smaller.widths) == (2, 1, (32, 48))
    module = DecoderModule(config, model.weights)
    module.skipped = frozenset([1])
    for layer, inside, heads in zip(layers, neurons, groups, strict=True):
        for name, count, kept in (
            ("mlp", config.intermediate, inside),
            ("self_attn", config.kv_heads, heads),
        ):
            gate = torch.zeros(count)
            gate[torch.from_numpy(kept)] = 1
            module.gates[f"model.layers.{layer}.{name}"] = gate
    ids = random.integers(0, 101, (2, 9))
    wanted = module(torch.from_numpy(ids)).detach().numpy()
    close = {"abs": 1e-4 * float(np.abs(wanted).max())}
    assert DecoderModule(smaller, weights)(torch.from_numpy(ids)).detach().numpy() == pytest.approx(
        wanted, **close
    )
    assert graph_logits(smaller, weights, ids) == pytest.approx(wanted, **close)


def test_a_mixture_of_experts_has_another_structure(tmp_path: Path):
    tiny(tmp_path, "mixtral")
    with pytest.raises(
        RecipeError, match=r"without experts, to prune; .*mixtral; .*drop_experts removes experts"
    ):
        Structure.whole(open_language_model(tmp_path).config)


def test_every_chosen_expert_learns(tmp_path: Path):
    from compress.language.module import DecoderModule

    tiny(tmp_path, "qwen2_moe")
    model = open_language_model(tmp_path)
    module = DecoderModule(model.config, model.weights)
    module(torch.arange(3, 60)[None]).square().mean().backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in module.parameters())


def test_a_whole_structure_changes_nothing(tmp_path: Path):
    tiny(tmp_path, "llama")
    model = open_language_model(tmp_path)
    arrays = {name: model.weights[name] for name in expected_shapes(model.config)}
    whole = Structure.whole(model.config)
    assert pruned_config(model.config, whole) == model.config
    found = pruned_arrays(model.config, arrays, whole)
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)
