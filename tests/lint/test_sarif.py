"""The log has the structure that SARIF 2.1.0 requires.

The schema is not at hand offline: what its definitions require of the objects that are used here is written down.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from compress.lint import Finding, sarif

SHA256 = "ab" * 32
FINDINGS = [
    Finding("operator", "error", "gelu_1", "no Gelu", "write it with Erf", "operators.md", "gelu"),
    Finding("opset", "error", "", "opset 20", "export with 17"),
    Finding("operator", "error", "gelu_2", "no Gelu", "write it with Erf", "operators.md", "gelu"),
    Finding("wide-constant", "note", "slice", "clamped", "write int32's own"),
    Finding("open-axis", "warning", "x", "axis 2 is open", "fix it"),
]

#: Object → the members that the schema requires of it, with their type.
REQUIRED: dict[str, dict[str, type]] = {
    "log": {"version": str, "runs": list},
    "run": {"tool": dict},
    "tool": {"driver": dict},
    "driver": {"name": str},
    "rule": {"id": str},
    "result": {"message": dict},
    "message": {"text": str},
    "logicalLocation": {"name": str},
}
#: Object → every member that the schema allows and the log uses; no object may have another.
ALLOWED = {
    "log": {"$schema", "version", "runs"},
    "run": {"tool", "artifacts", "results", "properties"},
    "tool": {"driver"},
    "driver": {"name", "version", "rules"},
    "rule": {"id", "shortDescription"},
    "result": {"ruleId", "ruleIndex", "level", "message", "locations", "properties"},
    "message": {"text"},
    "location": {"physicalLocation", "logicalLocations"},
    "physicalLocation": {"artifactLocation"},
    "artifactLocation": {"uri", "index"},
    "artifact": {"location", "hashes"},
    "logicalLocation": {"name", "kind"},
}


def check(kind: str, value: dict[str, Any]) -> None:
    assert set(value) <= ALLOWED[kind], kind
    for name, wanted in REQUIRED.get(kind, {}).items():
        assert isinstance(value[name], wanted), (kind, name)


@pytest.fixture
def log() -> dict[str, Any]:
    return json.loads(json.dumps(sarif(FINDINGS, "models\\net.onnx", SHA256, "jetson", "1.2")))


def test_every_object_is_as_the_schema_has_it(log: dict[str, Any]) -> None:
    check("log", log)
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    check("run", run)
    check("tool", run["tool"])
    driver = run["tool"]["driver"]
    check("driver", driver)
    for rule in driver["rules"]:
        check("rule", rule)
        check("message", rule["shortDescription"])
    for artifact in run["artifacts"]:
        check("artifact", artifact)
        check("artifactLocation", artifact["location"])
    for result in run["results"]:
        check("result", result)
        check("message", result["message"])
        assert result["level"] in {"none", "note", "warning", "error"}
        for location in result["locations"]:
            check("location", location)
            check("physicalLocation", location["physicalLocation"])
            check("artifactLocation", location["physicalLocation"]["artifactLocation"])
            for place in location.get("logicalLocations", ()):
                check("logicalLocation", place)


def test_rules_are_listed_once_and_results_point_at_them(log: dict[str, Any]) -> None:
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert rules == ["open-axis", "operator", "opset", "wide-constant"]
    assert [rules[result["ruleIndex"]] for result in run["results"]] == [each.rule for each in FINDINGS]
    assert [result["ruleId"] for result in run["results"]] == [each.rule for each in FINDINGS]


def test_what_a_reader_needs_is_in_a_result(log: dict[str, Any]) -> None:
    first, second, *_ = log["runs"][0]["results"]
    assert first["message"]["text"] == "no Gelu; write it with Erf"
    assert first["locations"][0]["logicalLocations"] == [{"name": "gelu_1", "kind": "member"}]
    assert first["properties"] == {"fix": "write it with Erf", "source": "operators.md", "rewrite": "gelu"}
    assert "logicalLocations" not in second["locations"][0]
    assert log["runs"][0]["artifacts"][0]["hashes"] == {"sha-256": SHA256}


def test_a_clean_graph_has_a_run_without_results() -> None:
    (run,) = sarif([], "net.onnx", SHA256, "jetson", "1.2")["runs"]
    assert (run["results"], run["tool"]["driver"]["rules"]) == ([], [])
