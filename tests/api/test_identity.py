"""What an interrupted run is known by: everything that its measurements depend on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compress.data.task import load_task
from compress.network.network import load_network
from tests.onnx_graph.test_external_data import saved

X = np.random.default_rng(0).standard_normal((24, 6)).astype(np.float32)
Y = np.arange(24) % 3


class Net(nn.Module):
    def __init__(self, kind: str = "plain") -> None:
        super().__init__()
        self.kind = kind
        torch.manual_seed(0)
        self.first, self.norm, self.last = nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)
        if kind == "eps":
            self.norm.eps = 1e-2

    def forward(self, x):
        h = self.norm(self.first(x))
        h = torch.tanh(h) if self.kind == "tanh" else torch.relu(h)
        if self.kind == "scaled":
            h = h * 2
        y = self.last(h)
        return -y if self.kind == "negated" else y


def test_a_network_is_known_by_what_it_computes_with_its_weights() -> None:
    def identity(kind: str) -> str:
        return load_network(Net(kind).eval(), example=[X[:2]]).identity

    assert identity("plain") == identity("plain")
    assert len({identity(kind) for kind in ("plain", "tanh", "scaled", "negated", "eps")}) == 5


def test_weights_count(tmp_path: Path) -> None:
    one, other = Net().eval(), Net().eval()
    with torch.no_grad():
        other.last.bias[0] += 1
    assert load_network(one, example=[X[:2]]).identity != load_network(other, example=[X[:2]]).identity


def right(outputs, targets):
    return (outputs[0].argmax(1) == targets).astype(float)


def wrong(outputs, targets):
    return (outputs[0].argmax(1) != targets).astype(float)


def test_the_code_of_a_metric_counts_whatever_it_is_called() -> None:
    def named(function):
        function.__name__ = "score"
        return load_task((X, Y), metric=function)

    assert named(right).identity == named(right).identity
    assert named(right).metric.name == named(wrong).metric.name
    assert named(right).identity != named(wrong).identity


@pytest.mark.parametrize("by_name", [True, False])
def test_the_metric_of_a_single_output_counts(by_name: bool) -> None:
    def bound(one):
        task = load_task((X, Y), metric={"": "top-1", "output_1": one})
        network = load_network(Two().eval(), example=[X[:2]])
        return task.bind(network.inputs, network.outputs).identity

    if by_name:
        assert bound("mean-error") != bound("classes")
    else:
        assert bound(right) == bound(right)
        assert bound(right) != bound(wrong)


class Two(Net):
    def forward(self, x):
        h = self.first(x)
        return self.last(h), self.last(torch.relu(h))


def test_all_training_samples_count() -> None:
    more = np.random.default_rng(1).standard_normal((600, 6)).astype(np.float32)
    labels = np.arange(600) % 3
    changed, relabelled = more.copy(), labels.copy()
    before = load_task((X, Y), train_data=(more, labels), calibration_samples=4)
    calibrating = {bytes(digest.inputs) for digest in before.calibration.digests}
    position = next(
        row for row, digest in enumerate(before.training.digests) if bytes(digest.inputs) not in calibrating
    )
    changed[position] += 1
    relabelled[position] += 1
    for train in ((changed, labels), (more, relabelled)):
        again = load_task((X, Y), train_data=train, calibration_samples=4)
        assert again.provenance == before.provenance
        assert again.identity != before.identity


def test_built_in_metrics_are_the_same_each_time() -> None:
    told = [load_task((X, Y), metric=name).metrics_sha256 for name in ("top-1", "top-1", "top-2")]
    assert told[0] == told[1] != told[2]


def test_an_onnx_file_is_known_with_its_weights(tmp_path: Path) -> None:
    found = {
        load_network(saved(tmp_path / str(weight), weight, location="net.onnx_data")).identity
        for weight in (1.0, 2.0)
    }
    assert len(found) == 2
