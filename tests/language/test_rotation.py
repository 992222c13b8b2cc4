"""A rotated decoder computes what the given one does, in float."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compress.errors import RecipeError
from compress.language.decoder_network import Parts
from compress.language.rotation import orthogonal, rotated
from compress.language.weights import open_language_model
from compress.recipe import Recipe, Step
from compress.techniques import apply_recipe
from tests.language.documents import sentences
from tests.language.test_decoder_module import graph_logits
from tests.language.tiny import KINDS, tiny
from tests.techniques.test_trim_vocabulary import opened

#: Those whose norms take no mean away.
ROTATABLE = [kind for kind in KINDS if not kind.startswith("gpt2")]


@pytest.mark.parametrize("size", [1, 16, 48, 63])
def test_matrices_are_orthogonal(size: int):
    matrix = orthogonal(size, np.random.default_rng(0))
    assert matrix @ matrix.T == pytest.approx(np.eye(size), abs=1e-12)
    assert size == 1 or np.abs(matrix).max() < 0.9


@pytest.mark.parametrize("kind", ROTATABLE)
def test_outputs_stay(kind: str, tmp_path: Path):
    tiny(tmp_path, kind)
    model = open_language_model(tmp_path)
    parts = Parts(model.config, model.weights, None)  # type: ignore[arg-type]
    done = rotated(parts, residual=True, heads=True)
    ids = np.random.default_rng(0).integers(0, 101, (2, 12))
    wanted = graph_logits(model.config, model.weights, ids)
    found = graph_logits(done.config, done.weights, ids)
    assert found == pytest.approx(wanted, abs=1e-4 * float(np.abs(wanted).max()))
    for name in ("self_attn.v_proj", "self_attn.o_proj", "self_attn.q_proj"):
        each = f"model.layers.1.{name}.weight"
        assert not np.allclose(done.weights[each], model.weights[each], atol=1e-2)
    assert done.config.tied_head == model.config.tied_head
    assert done.config.head_turn == model.config.tied_head
    added = model.config.hidden**2 if model.config.tied_head else 0
    assert done.config.parameters == model.config.parameters + added


def test_heads_alone_turn_with_any_norm(tmp_path: Path):
    tiny(tmp_path, "gpt2")
    model = open_language_model(tmp_path)
    parts = Parts(model.config, model.weights, None)  # type: ignore[arg-type]
    ids = np.random.default_rng(0).integers(0, 101, (1, 12))
    done = rotated(parts, residual=False, heads=True)
    wanted = graph_logits(model.config, model.weights, ids)
    assert graph_logits(done.config, done.weights, ids) == pytest.approx(
        wanted, abs=1e-4 * float(np.abs(wanted).max())
    )
    with pytest.raises(RecipeError, match="take no mean away"):
        rotated(parts, residual=True, heads=True)


def test_the_module_computes_what_a_rotated_graph_does(tmp_path: Path):
    torch = pytest.importorskip("torch")
    from compress.language.module import DecoderModule

    tiny(tmp_path, "llama, tied")
    model = open_language_model(tmp_path)
    done = rotated(Parts(model.config, model.weights, None), residual=True, heads=False)  # type: ignore[arg-type]
    ids = np.random.default_rng(0).integers(0, 101, (2, 12))
    found = DecoderModule(done.config, done.weights)(torch.from_numpy(ids)).detach().numpy()
    wanted = graph_logits(done.config, done.weights, ids)
    assert found == pytest.approx(wanted, abs=1e-4 * float(np.abs(wanted).max()))


def test_the_technique_tells_what_changed_and_rounds_afterwards(tmp_path: Path):
    pytest.importorskip("tokenizers")
    network, context = opened(tmp_path, sentences(8))
    rounding = Step("weight_only", {"algorithm": "rtn"})
    apply_recipe(Recipe("rotated", (Step("rotate"), rounding)), network, context)
    report = context.reports["rotate"]
    assert report["largest_change"] <= 1e-4 * report["largest_logit"]
    assert report["parameters"][1] - report["parameters"][0] == 64**2
    rounded = {name for each in context.reports["weight_only"]["layers"] for name in each["nodes"]}
    assert any("head_turn" in name for name in rounded)


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((Step("rotate"), Step("rotate")), "one rotation"),
        ((Step("rotate", {"residual": False, "heads": False}),), "neither"),
        ((Step("rotate", {"heads": 1}),), "true or false"),
        ((Step("weight_only", {"algorithm": "rtn"}), Step("rotate")), "put rotate before that one"),
    ],
)
def test_recipes_that_cannot_be_are_told(steps: tuple[Step, ...], said: str, tmp_path: Path):
    pytest.importorskip("tokenizers")
    network, context = opened(tmp_path, sentences(8))
    with pytest.raises(RecipeError, match=said):
        apply_recipe(Recipe("wrong", steps), network, context)
