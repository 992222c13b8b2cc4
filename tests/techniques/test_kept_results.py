"""What steps of recipes made is taken over by the next run that needs it: trainings and choices are counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from compress.core.content_cache import STEPS, ContentCache
from compress.core.progress import Reporter
from compress.data.task import load_task
from compress.network.network import Network, load_network
from compress.recipe import Recipe, Step
from compress.target.target import load_target
from compress.techniques import apply_recipe
from compress.techniques.base import Context

X = np.random.default_rng(0).standard_normal((120, 1, 8, 8)).astype(np.float32)
INT8 = Recipe("int8", (Step("quantize", {}),))
TRAINED = Recipe(
    "trained",
    (Step("prune", {"ratio": 0.5}), Step("distill", {"epochs": 1, "batch_size": 20, "epoch_samples": 60})),
)


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)
    )
    return load_network(module.eval(), example={"x": X[:2]})


class Counting(Reporter):
    """Counts steps of training."""

    def __init__(self) -> None:
        self.trained = 0

    def tick(self, done: int) -> None:
        self.trained += 1


class Bench:
    """A cache, and how often layers were quantized and steps trained."""

    def __init__(self, root: Path, network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
        self.network, self.quantized, self.notes = network, 0, list[str]()
        self.reporter = Counting()
        self.cache = ContentCache(root / "cache", self.notes.append)
        import compress.techniques.quantize as module

        whole: Callable[..., Any] = module.quantize_static

        def counted(*arguments: Any) -> Any:
            self.quantized += 1
            return whole(*arguments)

        monkeypatch.setattr(module, "quantize_static", counted)

    def apply(self, recipe: Recipe, target: str = "cpu", **changed: Any) -> tuple[bytes, dict[str, Any]]:
        y = np.arange(len(X)) % 4
        task = load_task({"x": X[:60], "y": y[:60]}, train_data={"x": X[60:], "y": y[60:]})
        task = task.bind(self.network.inputs, self.network.outputs)
        context = Context(
            task, load_target(target), original=self.network, reporter=self.reporter, steps=self.cache
        )
        context = replace(context, **changed)
        result = apply_recipe(recipe, self.network, context)
        return result.to_onnx().SerializeToString(), context.reports

    @property
    def entries(self) -> list[Path]:
        return sorted((self.cache.root / STEPS).glob("*/*result.*"))


@pytest.fixture
def bench(tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, network, monkeypatch)


def test_a_quantized_model_is_made_once(bench: Bench) -> None:
    first = bench.apply(INT8)
    assert bench.quantized == 1
    assert bench.apply(INT8) == first
    assert bench.quantized == 1
    assert {path.stat().st_mode & 0o777 for path in bench.entries} == {0o600}
    assert not bench.notes


def test_all_that_goes_into_a_step_tells_it_from_others(bench: Bench, network: Network) -> None:
    bench.apply(INT8)
    bench.apply(INT8, seed=1)
    bench.apply(Recipe("other", (Step("quantize", {"method": "min-max"}),)))
    assert bench.quantized == 3
    bench.apply(INT8, "jetson-orin-nano-super")  # whose form of int8 is another
    assert bench.quantized == 4
    weights = {name: value + 0.01 for name, value in network.graph.state_dict().items()}
    before = {name: value.clone() for name, value in network.graph.state_dict().items()}
    network.graph.load_state_dict(weights)
    bench.apply(INT8)
    network.graph.load_state_dict(before)
    assert bench.quantized == 5
    bench.apply(INT8)
    assert bench.quantized == 5


def test_targets_of_one_form_of_int8_share_what_was_quantized(bench: Bench) -> None:
    bench.apply(INT8, "h100-sxm")
    bench.apply(INT8, "jetson-orin-nano-super")
    assert bench.quantized == 1


@pytest.mark.parametrize("harm", ["cut", "changed", "no model", "no record", "another's record"])
def test_a_damaged_entry_is_made_again_with_a_word(bench: Bench, harm: str) -> None:
    first = bench.apply(INT8)
    record, model = sorted(bench.entries)
    assert record.suffix == ".json"
    content = model.read_bytes()
    if harm == "cut":
        model.write_bytes(content[:-7])
    elif harm == "changed":
        model.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    elif harm == "no model":
        model.unlink()
    elif harm == "no record":
        record.write_text("")
    else:
        record.write_text(record.read_text().replace('"reports"', '"report"'))
    assert bench.apply(INT8) == first
    assert bench.quantized == 2
    assert len(bench.notes) == 1
    assert "damaged" in bench.notes[0]
    assert bench.apply(INT8) == first
    assert bench.quantized == 2


def test_a_training_is_done_once_whatever_follows_it(bench: Bench) -> None:
    first, _ = bench.apply(TRAINED)
    once = bench.reporter.trained
    assert once > 1
    assert bench.apply(TRAINED)[0] == first
    bench.apply(TRAINED, "jetson-orin-nano-super")  # nothing in it depends on the target
    both = Recipe("both", (*TRAINED.steps, *INT8.steps))
    built, _ = bench.apply(both)
    assert bench.apply(both)[0] == built
    assert (bench.reporter.trained, bench.quantized) == (once, 1)


def test_a_cut_checkpoint_is_trained_again(bench: Bench) -> None:
    first, _ = bench.apply(TRAINED)
    once = bench.reporter.trained
    (checkpoint,) = (bench.cache.root / STEPS).glob("*/distill.pt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    assert bench.apply(TRAINED)[0] == first
    assert bench.reporter.trained == 2 * once


def test_what_follows_an_onnx_model_is_made_again(bench: Bench) -> None:
    """An ONNX model that a step has made has no identity of its own."""
    twice = Recipe("twice", (Step("cast", {"precision": "float16"}), Step("quantize", {})))
    assert bench.apply(twice) == bench.apply(twice)
    assert bench.quantized == 2
    assert not bench.entries


def test_without_a_cache_nothing_is_kept(bench: Bench) -> None:
    bench.apply(INT8, steps=None)
    bench.apply(INT8, steps=None)
    assert bench.quantized == 2
    assert not bench.entries
