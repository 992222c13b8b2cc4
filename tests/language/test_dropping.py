"""Experts that few tokens are sent to are dropped: what is counted, what stays, and what comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from compress.cli import main
from compress.errors import RecipeError
from compress.language.config import Experts
from compress.language.decoder_network import Parts
from compress.language.dropping import _shares, expert_shares, without_experts
from compress.language.graph import decoder_model
from compress.language.weights import open_language_model
from tests.language.documents import json_lines, sentences, small_model
from tests.language.test_decoder_graph import close, session, whole
from tests.language.tiny import Tiny, tiny

tokenizers = pytest.importorskip("tokenizers")

DOCUMENTS = [np.random.default_rng(seed).integers(3, 101, 12 + seed) for seed in range(5)]
KINDS = ["mixtral", "qwen2_moe", "qwen3_moe, every other layer"]


def parts_of(made: Tiny) -> Parts:
    model = open_language_model(made.path)
    return Parts(model.config, model.weights, None)  # type: ignore[arg-type] - no text is taken apart here


def routed_by_transformers(made: Tiny, layer: int, chosen: int, renormalized: bool) -> np.ndarray[Any, Any]:
    """How much each expert of a layer is used, from what transformers' own router gives."""
    import torch

    found: list[Any] = []
    block = made.network.model.layers[layer].mlp
    hook = block.gate.register_forward_hook(lambda module, given, result: found.append(result))
    for document in DOCUMENTS:
        made.logits(document[None])
    hook.remove()
    total = np.zeros(len(found[0][0][0]))
    for logits, *_ in found:
        values, places = torch.softmax(logits, -1).topk(chosen)
        values = values / values.sum(-1, keepdim=True) if renormalized else values
        np.add.at(total, places.numpy().ravel(), values.detach().numpy().ravel())
    return total / total.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_shares_are_those_of_transformers_router(tmp_path: Path, kind: str):
    made = tiny(tmp_path, kind)
    parts = parts_of(made)
    experts = parts.config.experts
    assert experts is not None
    shares = expert_shares(parts, DOCUMENTS)
    for layer, has in enumerate(experts.layers):
        if has:
            wanted = routed_by_transformers(made, layer, experts.chosen, experts.renormalized)
            np.testing.assert_allclose(shares[layer], wanted, atol=1e-4)
        else:
            assert not shares[layer].any()


def test_shares_of_tokens():
    logits = np.log(np.array([[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]], np.float32))
    plain = _shares(logits, Experts(3, 2, 8, False, None, (True,)))
    np.testing.assert_allclose(plain, [[0, 0.4, 0.5], [0.6, 0.3, 0]], atol=1e-6)
    made_one = _shares(logits, Experts(3, 2, 8, True, None, (True,)))
    np.testing.assert_allclose(made_one, [[0, 4 / 9, 5 / 9], [2 / 3, 1 / 3, 0]], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_is_the_network_of_these_experts(tmp_path: Path, kind: str):
    """Its weights, loaded into a network of transformers with fewer experts, give the same logits."""
    transformers = pytest.importorskip("transformers")
    made = tiny(tmp_path / "whole", kind)
    parts = parts_of(made)
    smaller = without_experts(parts, expert_shares(parts, DOCUMENTS), 3)
    config = json.loads((made.path / "config.json").read_text())
    count = "num_experts" if "num_experts" in config else "num_local_experts"
    left = tmp_path / "left"
    left.mkdir()
    (left / "config.json").write_text(json.dumps(config | {count: 3}))
    names = {"gate_proj": "w1", "down_proj": "w2", "up_proj": "w3"} if kind == "mixtral" else {}
    stored = {}
    for name, values in smaller.arrays().items():
        if names and ".mlp." in name:
            name = name.replace(".mlp.", ".block_sparse_moe.")
            for ours, theirs in names.items():
                name = name.replace(ours, theirs)
        stored[name] = np.ascontiguousarray(values)
    save_file(stored, left / "model.safetensors", {"format": "pt"})
    network = transformers.AutoModelForCausalLM.from_pretrained(left).eval()
    ids = DOCUMENTS[0][None]
    found = whole(session(decoder_model(smaller.config, smaller.weights)), ids)
    assert close(found, Tiny(left, network).logits(ids))
    assert smaller.config == open_language_model(left).config
    assert smaller.config.parameters < parts.config.parameters
    assert smaller.made_of[-1].startswith("3 of ")


def test_the_most_used_stay_in_their_order(tmp_path: Path):
    parts = parts_of(tiny(tmp_path, "mixtral"))
    shares = np.array([[0.1, 0.5, 0.1, 0.3], [0.4, 0.3, 0.2, 0.1]])
    smaller = without_experts(parts, shares, 2)
    for layer, kept in enumerate(([1, 3], [0, 1])):
        at = f"model.layers.{layer}.mlp"
        np.testing.assert_array_equal(
            smaller.weights[f"{at}.gate.weight"], parts.weights[f"{at}.gate.weight"][kept]
        )
        for new, old in enumerate(kept):
            np.testing.assert_array_equal(
                smaller.weights[f"{at}.experts.{new}.up_proj.weight"],
                parts.weights[f"{at}.experts.{old}.up_proj.weight"],
            )
    one = without_experts(parts, shares, 1)
    assert one.config.experts is not None
    assert (one.config.experts.count, one.config.experts.chosen) == (1, 1)


def test_other_decoders_have_no_experts(tmp_path: Path):
    with pytest.raises(
        RecipeError, match="a mixture of experts, for drop_experts; found a decoder of family llama"
    ):
        expert_shares(parts_of(tiny(tmp_path)), DOCUMENTS)


def test_a_recipe_drops_experts_and_rounds_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    small_model(tmp_path / "model")
    size = tokenizers.Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json")).get_vocab_size()
    tiny(tmp_path / "model", "mixtral", hidden_size=64, vocab_size=size, max_position_embeddings=96)
    json_lines(tmp_path / "texts", sentences(20))
    rounding = '[[technique]]\nname = "weight_only"\nalgorithm = "rtn"\n'
    recipe = tmp_path / "half.toml"
    recipe.write_text('name = "half"\n[[technique]]\nname = "drop_experts"\n' + rounding, encoding="utf-8")
    given = [str(tmp_path / "model"), "--data", str(tmp_path / "texts"), "--recipe", str(recipe)]
    assert main(["quantize", *given, "--out", str(tmp_path / "half.onnx"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["reports"]["drop_experts"]
    assert found["experts"] == [4, 2]
    assert found["parameters"][1] < found["parameters"][0]
    assert [round(sum(each), 3) for each in found["shares"].values()] == [1, 1]


@pytest.mark.parametrize("remove", [0, 1, 1.5, True, "half"])
def test_a_share_that_is_none(remove: Any):
    from compress.techniques.drop_experts import DropExperts

    with pytest.raises(RecipeError, match=r"a share in \(0, 1\)"):
        DropExperts(remove)
