"""The parts of a decoder that stay are those without which its loss grows most."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compress.errors import RecipeError
from compress.language.weights import open_language_model
from compress.pruning.decoder_times import counted_costs
from tests.language.documents import small_model

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")


@pytest.fixture
def decoder(tmp_path: Path) -> Any:
    from compress.language.module import DecoderModule

    model = open_language_model(small_model(tmp_path / "model", num_hidden_layers=3))
    return DecoderModule(model.config, model.weights).eval().requires_grad_(False)


def batches(decoder: Any) -> list[Any]:
    """Texts that the decoder itself writes, and so expects."""
    ids = torch.arange(8)[:, None] * 37
    with torch.no_grad():
        for _ in range(16):
            ids = torch.cat([ids, decoder(ids)[:, -1:].argmax(-1)], 1)
    return list(ids.split(4))


def test_dead_neurons_heads_and_layers_go_first(decoder: Any):
    from compress.pruning.decoder_structure import choose_structure, groups_of, widths_of

    with torch.no_grad():
        for layer in range(3):
            decoder.get_parameter(f"model.layers.{layer}.mlp.down_proj.weight")[:, :32] = 0
            decoder.get_parameter(f"model.layers.{layer}.self_attn.o_proj.weight")[:, :32] = 0
        decoder.get_parameter("model.layers.1.mlp.down_proj.weight").zero_()
        decoder.get_parameter("model.layers.1.self_attn.o_proj.weight").zero_()
    config = decoder.config
    costs = counted_costs(config, widths_of(config), groups_of(config))
    found = choose_structure(decoder, batches(decoder), costs, 0.47)
    assert found.structure.layers == (0, 2)
    assert [each.min() for each in found.structure.neurons] == [32, 32]
    assert [each.tolist() for each in found.structure.groups] == [[1], [1]]
    assert found.after == pytest.approx(found.before, abs=1e-4)
    assert found.predicted <= 0.47
    assert decoder.skipped == frozenset()
    assert decoder.gates == {}


def test_the_share_is_reached_with_the_layers_that_are_kept(decoder: Any):
    from compress.pruning.decoder_structure import choose_structure, groups_of, widths_of

    config = decoder.config
    costs = counted_costs(config, widths_of(config), groups_of(config))
    found = choose_structure(decoder, batches(decoder), costs, 0.6, keep=frozenset([1]))
    assert 1 in found.structure.layers
    assert len(found.structure.neurons[found.structure.layers.index(1)]) == config.intermediate
    assert found.predicted <= 0.6
    with pytest.raises(RecipeError, match="reaches the share"):
        choose_structure(decoder, batches(decoder), costs, 0.3, keep=frozenset(range(3)))


def test_a_score_is_about_what_the_loss_grows_by(decoder: Any):
    """Of a neuron that matters little, by its own removal; the scores' order is what is used."""
    from compress.language.unit_scores import unit_scores

    scores = unit_scores(decoder, batches(decoder))
    assert set(scores) == {
        f"model.layers.{layer}.{part}" for layer in range(3) for part in ("mlp", "self_attn")
    }
    assert all((each >= 0).all() and np.isfinite(each).all() for each in scores.values())


def test_steps_are_measured(tmp_path: Path):
    from compress.language.decoder_network import Parts
    from compress.language.tokenizer import open_tokenizer
    from compress.pruning.decoder_times import measured_costs

    model = open_language_model(small_model(tmp_path / "model"))
    parts = Parts(model.config, model.weights, open_tokenizer(model))
    costs = measured_costs(parts, [64, 128], [2, 1], "int4", 1)
    assert costs.source == "measured"
    assert costs.whole > 0
    assert set(costs.widths) == {64, 128}
    assert costs.widths[128] == costs.groups[2] == 0
