"""Lint rules of other distributions."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.errors import UsageError
from compress.lint import LINT_RULES, lint, sarif
from compress.lint.sarif import DESCRIPTIONS
from compress.target.target import load_target
from tests.distributions import installed
from tests.graphs import classifier

SOURCE = """
from compress.lint.findings import Finding

def convolutions(subject):
    for node in subject.graph.nodes:
        if node.op_type == "Conv":
            yield Finding("acme-rule", "warning", node.name, "a convolution", "leave it out")

def for_tensorrt(subject):
    yield from convolutions(subject)

for_tensorrt.backends = ("tensorrt",)

def failing(subject):
    return 1 / 0

def texts(subject):
    return ["a text"]
"""


def found(place: Path, name: str, target: str) -> list[str]:
    with installed(place, "acme", {"compress.lint": {"acme-rule": f"acme_rules:{name}"}}, acme_rules=SOURCE):
        return [each.node for each in lint(classifier(), load_target(target)) if each.rule == "acme-rule"]


def test_a_rule_is_for_the_back_ends_that_it_names_or_for_all(tmp_path: Path) -> None:
    assert found(tmp_path / "1", "convolutions", "raspberry-pi-5") == ["conv1", "conv2"]
    assert found(tmp_path / "2", "convolutions", "jetson") == ["conv1", "conv2"]
    assert found(tmp_path / "3", "for_tensorrt", "raspberry-pi-5") == []
    assert found(tmp_path / "4", "for_tensorrt", "jetson") == ["conv1", "conv2"]


@pytest.mark.parametrize("name, told", [("failing", "ZeroDivisionError"), ("texts", "a str")])
def test_a_rule_that_fails_is_named(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(UsageError, match=rf"the lint rule 'acme-rule' of acme 1.0; found {told}"):
        found(tmp_path, name, "jetson")


def test_its_findings_are_written_as_sarif(tmp_path: Path) -> None:
    points = {"compress.lint": {"acme-rule": "acme_rules:convolutions"}}
    with installed(tmp_path, "acme", points, acme_rules=SOURCE):
        findings = lint(classifier(), load_target("raspberry-pi-5"))
    (run,) = sarif(findings, "model.onnx", "ab" * 32, "raspberry-pi-5", "0")["runs"]
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["acme-rule"]


def test_every_rule_of_ours_has_a_description() -> None:
    by_runtime = {"onnxruntime-opens", "openvino-reads"}  # their findings have the rule "runtime"
    assert {*LINT_RULES.names(), "runtime", "onnx", "not-supported"} - by_runtime == set(DESCRIPTIONS)
