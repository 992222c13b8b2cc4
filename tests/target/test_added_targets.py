"""Targets and back ends of other distributions, as a target's file and a command line name them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from compress.backends import load_backend
from compress.doctor.outlook import outlook
from compress.doctor.system import system
from compress.errors import NetworkError, TargetError, UnavailableError
from compress.lint import lint
from compress.recipe import Recipe
from compress.search.backends import check_sessions, competing_backends
from compress.target.target import list_targets, load_target
from tests.distributions import installed
from tests.graphs import classifier

POINTS = {
    "compress.targets": {"acme-board": "acme_toolkit:BOARD", "lost": "acme_toolkit:LOST"},
    "compress.backends": {"acme": "acme_toolkit:Acme", "acme-only-listed": "acme_toolkit:OnlyListed"},
}
SOURCE = """
from pathlib import Path
from compress.backends.onnxruntime import OnnxRuntime

BOARD = Path(__file__).with_name("acme-board.toml")
LOST = Path(__file__).with_name("another-name.toml")


class Acme(OnnxRuntime):
    name = "acme"
    title = "Acme's runtime"
    computes = ("fp32", "fp16")
    builds_engines = True

    def installed(self):
        return False

    def how_to_install(self):
        return "ask Acme"

    def precisions(self, target):
        return ("fp32", "fp16") if target.cores else ()

    def not_supported_reasons(self, model, target):
        return tuple(f"it has no {node.op_type}" for node in model.graph.node if node.op_type in ("Gemm", "Flatten"))


class OnlyListed(OnnxRuntime):
    name = "acme-only-listed"
"""
BOARD = """
extends = "raspberry-pi-5"
aliases = ["acme"]
description = "A board."
backend = "acme"
precisions = ["fp32"]
provider = "CPUExecutionProvider"

[further_providers]
AcmeExecutionProvider = ["fp32"]
"""


@pytest.fixture
def acme(tmp_path: Path) -> Iterator[Path]:
    with installed(tmp_path / "site", "acme-toolkit", POINTS, acme_toolkit=SOURCE):
        (tmp_path / "site" / "acme-board.toml").write_text(BOARD)
        yield tmp_path


@pytest.mark.usefixtures("acme")
def test_a_target_of_another_distribution_is_found_by_name_and_alias() -> None:
    target = load_target("acme-board")
    assert (target.name, target.backend, target.cores) == ("acme-board", "acme", 4)
    assert target.further_providers == {"AcmeExecutionProvider": ("fp32",)}
    assert load_target(" ACME ") == target
    assert [each.name for each in list_targets()] == sorted(each.name for each in list_targets())
    assert "acme-board" in {each.name for each in list_targets()}
    with pytest.raises(TargetError, match=r"target 'lost' of acme-toolkit 1.0 .*another-name.toml"):
        load_target("lost")
    with pytest.raises(TargetError, match="did you mean acme-board"):
        load_target("acme-bord")


def test_an_alias_of_two_targets_is_refused(acme: Path) -> None:
    board = acme / "site" / "acme-board.toml"
    board.write_text(board.read_text().replace('["acme"]', '["rpi5"]'))
    with pytest.raises(TargetError, match=r"alias 'rpi5'; found .*raspberry-pi-5.toml and .*acme-board"):
        load_target("rpi5")
    assert load_target("raspberry-pi-5").backend == "onnxruntime"


def test_a_target_may_extend_one_of_another_distribution(acme: Path) -> None:
    own = acme / "own.toml"
    own.write_text('extends = "acme-board"\ndescription = "Mine."\n')
    assert load_target(own).backend == "acme"


def test_targets_that_extend_each_other_are_refused(acme: Path) -> None:
    board = acme / "site" / "acme-board.toml"
    board.write_text(BOARD.replace("raspberry-pi-5", "acme-board"))
    with pytest.raises(TargetError, match=r"acme-board.toml → acme-board.toml"):
        load_target("acme-board")


@pytest.mark.parametrize(
    "line, told",
    [
        ('backend = "acmee"', "did you mean acme"),
        ('precisions = ["fp32", "int8"]', "precisions of acme (fp32, fp16)"),
        ('[further_backends.acme]\nprecisions = ["int8"]', "change further_backends.acme.precisions"),
        ('[further_backends.nothing]\nprecisions = ["fp32"]', "further_backends.nothing"),
        ('[further_providers]\nAcme = ["fp32"]', "further_providers.Acme"),
        ('[further_providers]\nAcmeExecutionProvider = ["fp5"]', "further_providers.AcmeExecutionProvider"),
    ],
)
def test_a_file_that_names_a_back_end_wrongly_is_explained(acme: Path, line: str, told: str) -> None:
    own = acme / "own.toml"
    own.write_text(f'extends = "acme-board"\ndescription = "Mine."\n{line}\n')
    with pytest.raises(TargetError) as caught:
        load_target(own)
    assert told in str(caught.value)


def test_a_back_end_that_only_competes_is_no_targets_own(acme: Path) -> None:
    own = acme / "own.toml"
    own.write_text('extends = "raspberry-pi-5"\ndescription = "Mine."\nbackend = "openvino"\n')
    with pytest.raises(TargetError, match="OpenVINO, which competes beside one; change backend"):
        load_target(own)


@pytest.mark.usefixtures("acme")
def test_a_back_end_offers_itself_to_targets_that_do_not_list_it() -> None:
    pi, jetson = load_target("raspberry-pi-5"), load_target("jetson")
    there = pi.for_backend("acme")
    assert (there.backend, there.precisions, there.quantization) == (
        "acme",
        ("fp32", "fp16"),
        pi.quantization,
    )
    for target, name in ((jetson, "acme"), (pi, "acme-only-listed"), (pi, "tensorrt"), (pi, "nothing")):
        with pytest.raises(TargetError, match=f"a back end of the target {target.name}"):
            target.for_backend(name)


@pytest.mark.usefixtures("acme")
def test_a_recipe_may_name_it_and_is_told_how_to_install_it() -> None:
    recipe = Recipe("mine", backend="acme")
    with pytest.raises(UnavailableError, match="another machine"):
        check_sessions([recipe], load_target("raspberry-pi-5"))
    with pytest.raises(UnavailableError, match="it is not installed; ask Acme"):
        check_sessions([recipe], load_target("cpu"))


@pytest.mark.usefixtures("acme")
def test_every_reason_against_a_graph_is_told() -> None:
    target = load_target("acme-board")
    with pytest.raises(
        NetworkError,
        match=r"Acme's runtime runs on acme-board; .*no Flatten; also: .*no Gemm",
    ):
        load_backend("acme").check_supported(classifier(), target)
    load_backend("onnxruntime").check_supported(classifier(), target)
    findings = [each for each in lint(classifier(), target) if each.rule == "not-supported"]
    assert [(each.severity, each.message) for each in findings] == [
        ("error", "it has no Flatten"),
        ("error", "it has no Gemm"),
    ]


@pytest.mark.usefixtures("acme")
def test_it_competes_where_it_is_named_and_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = load_target("cpu")
    monkeypatch.setattr(type(load_backend("acme")), "installed", lambda _: True)
    assert competing_backends(cpu, ["acme", "onnxruntime"]).names == ("onnxruntime", "acme")
    assert competing_backends(cpu, ["acme"]).names == ("acme",)
    assert "acme" not in competing_backends(cpu).names


@pytest.mark.usefixtures("acme")
def test_a_provider_of_another_maker_that_is_not_there_is_told() -> None:
    target = replace(load_target("cpu"), further_providers={"AcmeExecutionProvider": ("fp32",)})
    (note,) = [each for each in competing_backends(target).notes if "Acme" in each]
    assert "this ONNX Runtime has no AcmeExecutionProvider: it does not compete" in note


@pytest.mark.usefixtures("acme")
def test_where_engines_are_built_the_graph_runs_here_as_it_is_written() -> None:
    runtime = load_backend("onnxruntime")
    fused = {
        name: runtime.default_options(load_target(name))["qdq_fusion"]
        for name in ("acme-board", "jetson", "raspberry-pi-5")
    }
    assert fused == {"acme-board": False, "jetson": False, "raspberry-pi-5": True}


@pytest.mark.usefixtures("acme")
def test_what_can_be_done_for_its_target_is_said_by_the_back_end() -> None:
    said = outlook(load_target("acme-board"), system(), {})
    assert (said.verdict, said.reason, said.todo) == (
        "unavailable",
        "Acme's runtime is not installed",
        "ask Acme",
    )
