"""A decoder with fewer values of a token between its layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.errors import RecipeError
from compress.language.decoder_network import Arrays, DecoderNetwork
from compress.language.directory import write_directory
from compress.language.structure import Structure, pruned_arrays, pruned_config
from compress.language.weights import Weights, expected_shapes, open_language_model
from compress.pruning.decoder_times import counted_costs
from compress.recipe import Recipe, Step
from compress.techniques import apply_recipe
from tests.language.documents import sentences, small_model
from tests.language.test_decoder_module import graph_logits
from tests.language.tiny import tiny
from tests.techniques.test_trim_vocabulary import opened

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")


def decoder_with_dead_values(path: Path, kind: str, dead: list[int]) -> tuple[Any, dict[str, np.ndarray]]:
    """A decoder some of whose values of a token are 0 in all layers."""
    tiny(path, kind)
    model = open_language_model(path)
    arrays = {name: model.weights[name].copy() for name in expected_shapes(model.config)}
    for name, array in arrays.items():
        if "embed" in name:
            array[:, dead] = 0
        elif name.rpartition(".")[0].endswith(("o_proj", "down_proj")):
            array[dead] = 0
    return model.config, arrays


@pytest.mark.parametrize("kind", ["llama", "llama, tied", "llama, biases", "qwen3", "mistral, window"])
def test_values_that_are_always_0_go_first_and_change_nothing(kind: str, tmp_path: Path):
    from compress.language.hidden_width import hidden_scores
    from compress.language.module import DecoderModule

    dead = [0, 5, *range(20, 34)]
    config, arrays = decoder_with_dead_values(tmp_path, kind, dead)
    ids = np.random.default_rng(0).integers(0, 101, (2, 12))
    decoder = DecoderModule(config, arrays)
    scores = hidden_scores(decoder, [torch.from_numpy(ids)])
    structure = scores.structure(config, 32)
    assert structure.hidden is not None
    assert not set(structure.hidden.tolist()) & set(dead)
    smaller = pruned_config(config, structure)
    assert smaller.hidden == 32
    found = graph_logits(smaller, Weights(smaller, Arrays(pruned_arrays(config, arrays, structure))), ids)
    wanted = graph_logits(config, Weights(config, Arrays(arrays)), ids)
    # What norms divide by is that of the values that stay, at any token alike, as the others are 0.
    assert found == pytest.approx(wanted, abs=1e-3 * float(np.abs(wanted).max()))
    assert decoder.seen is None


def test_norms_give_what_they_gave_on_the_mean(tmp_path: Path):
    """Without the factor of their scales they would give more, as they divide by a smaller root mean square."""
    from compress.language.hidden_width import hidden_scores, narrower
    from compress.language.module import DecoderModule

    model = open_language_model(small_model(tmp_path / "model"))
    decoder = DecoderModule(model.config, model.weights)
    batches = [torch.from_numpy(np.random.default_rng(0).integers(0, 300, (4, 24)))]
    scores = hidden_scores(decoder, batches)
    structure = scores.structure(model.config, 32)
    whole = hidden_scores(decoder, batches).importance[structure.hidden].sum()
    with_factor = hidden_scores(narrower(decoder, structure), batches).importance.sum()
    plain = hidden_scores(narrower(decoder, replace(structure, norm_scales={})), batches).importance.sum()
    assert abs(with_factor - whole) < abs(plain - whole)


def test_the_search_takes_a_narrower_decoder_where_it_loses_nothing(tmp_path: Path):
    from compress.language.hidden_width import widths_below
    from compress.language.module import DecoderModule
    from compress.pruning.decoder_structure import choose_structure, groups_of, widths_of

    model = open_language_model(small_model(tmp_path / "model"))
    config = model.config
    arrays = {name: model.weights[name].copy() for name in expected_shapes(config)}
    for name, array in arrays.items():
        if "embed" in name:
            array[:, 32:] = 0
        elif name.rpartition(".")[0].endswith(("o_proj", "down_proj")):
            array[32:] = 0
    decoder = DecoderModule(config, arrays).eval().requires_grad_(False)
    ids = torch.arange(8)[:, None] * 37
    with torch.no_grad():
        for _ in range(12):
            ids = torch.cat([ids, decoder(ids)[:, -1:].argmax(-1)], 1)
    assert widths_below(config) == [32]
    costs = counted_costs(config, widths_of(config), groups_of(config), widths_below(config))
    assert costs.narrower[32].whole == costs.whole / 2
    chosen = choose_structure(decoder, list(ids.split(4)), costs, 0.5)
    assert chosen.structure.hidden is not None
    assert chosen.structure.hidden.tolist() == list(range(32))
    assert len(chosen.structure.layers) == config.layers
    assert chosen.after == pytest.approx(chosen.before, abs=1e-3)
    assert chosen.predicted == pytest.approx(0.5)


def test_measured_costs_have_those_of_narrower_decoders(tmp_path: Path):
    from compress.language.decoder_network import Parts
    from compress.pruning.decoder_times import measured_costs

    model = open_language_model(small_model(tmp_path / "model"))
    parts = Parts(model.config, model.weights, None)  # type: ignore[arg-type]
    costs = measured_costs(parts, [64, 128], [2, 1], "fp32", 1, [32])
    assert 0 < costs.narrower[32].whole <= costs.whole
    assert set(costs.narrower[32].widths) == {64, 128}


def test_prune_takes_the_width_that_is_asked_for(tmp_path: Path):
    network, context = opened(tmp_path, sentences(12))
    step = Step("prune", {"ratio": 0.5, "hidden_width": 32})
    done = apply_recipe(Recipe("narrow", (step,)), network, context)
    assert isinstance(done, DecoderNetwork)
    assert done.parts.config.hidden == 32
    assert context.reports["prune"]["hidden"] == [64, 32]
    assert '"hidden_size": 32' in done.companions["genai_config.json"]
    write_directory(done, tmp_path / "narrow")
    again = open_language_model(tmp_path / "narrow")
    assert again.config == done.parts.config
    assert all(np.array_equal(again.weights[name], done.parts.weights[name]) for name in again.weights)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hidden_width": 40}, "multiples of 32 below 64"),
        ({"hidden_width": 64}, "multiples of 32 below 64"),
        ({"hidden_width": 32, "keep_layers": ["model.layers.0"]}, "both"),
        ({"hidden_width": 0}, "whole number"),
    ],
)
def test_widths_that_cannot_be_are_told(settings: dict[str, Any], said: str, tmp_path: Path):
    network, context = opened(tmp_path, sentences(8))
    with pytest.raises(RecipeError, match=said):
        apply_recipe(Recipe("wrong", (Step("prune", settings),)), network, context)


def test_a_whole_structure_keeps_all_values(tmp_path: Path):
    model = open_language_model(small_model(tmp_path / "model"))
    structure = Structure.whole(model.config)
    assert pruned_config(model.config, structure) == model.config
