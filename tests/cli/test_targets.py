from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from compress.cli.targets import targets
from compress.errors import TargetError
from compress.target.target import list_targets, load_target
from tests.distributions import installed


def run(*arguments: str) -> Result:
    return CliRunner().invoke(targets, list(arguments), catch_exceptions=True)


def test_the_list_has_every_target_and_its_other_names(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    result = run()
    assert result.exit_code == 0
    rows = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    for target in list_targets():
        assert all(alias in rows[target.name] for alias in target.aliases)
    assert "this machine" in rows["cpu"]
    assert "not on this machine" in rows["cuda"]
    assert "102" in rows["jetson-orin-nano-super"]
    assert "TensorRT" in rows["jetson-orin-nano-super"]


def test_the_list_as_json():
    assert [each["name"] for each in json.loads(run("--json").stdout)] == [
        each.name for each in list_targets()
    ]


def test_show_explains_in_words():
    text = run("show", "jetson").stdout
    assert "Jetson Orin Nano 8 GB in Super mode" in text
    assert "102 GB/s" in text
    assert "7–25 W" in text
    assert "324 op/byte" in text  # 33e12 / 102e9
    assert "≈ 2.1 TFLOP/s" in text  # derived
    assert "≈ 33 TOP/s" not in text  # published
    assert "signed activations with zero point 0; signed weights with a scale per output channel" in text
    assert "the bias stays float" in text
    assert "TensorRT 10.3, JetPack 6.2, compute capability 8.7" in text
    assert "Not this machine" in text
    assert load_target("jetson").sources["launch_overhead_us"] in text


def test_show_tells_what_is_here_and_what_a_processor_has():
    text = run("show", "cpu").stdout
    assert "This machine: accuracy and latency are measured." in text
    assert "the bias is int32" in " ".join(text.split())
    text = run("show", "raspberry-pi-5").stdout
    assert "ONNX Runtime, CPU, extensions asimd asimdhp asimddp" in text
    assert "Peak int8, DLA" not in text
    assert "52.5 TOP/s" in run("show", "jetson-agx-orin").stdout


def test_show_reads_a_file_of_ones_own_and_takes_its_brackets_literally(tmp_path: Path):
    path = tmp_path / "board.toml"
    path.write_text('extends = "jetson"\ndescription = "Ours [bold]."\nmemory_gb = 7\n', encoding="utf-8")
    text = run("show", str(path)).stdout
    assert "Ours [bold]." in text
    assert "7 GB" in text
    assert "board.toml" in text


@pytest.mark.parametrize("arguments", [("show", "jetson", "--json"), ("--json", "show", "jetson")])
def test_show_as_json(arguments: tuple[str, ...]):
    shown = json.loads(run(*arguments).stdout)
    assert shown == json.loads(json.dumps(load_target("jetson").to_dict()))


def test_seven_bit_weights_are_explained(tmp_path: Path):
    path = tmp_path / "old.toml"
    path.write_text('extends = "cpu"\n[quantization]\nreduce_range = true\n', encoding="utf-8")
    assert "in seven bits" in run("show", str(path)).stdout


def test_an_unknown_name_is_one_error():
    result = run("show", "jetsn")
    assert isinstance(result.exception, TargetError)
    assert result.stdout == ""


def test_a_target_of_another_package_that_cannot_be_read_is_told(tmp_path: Path):
    points = {"compress.targets": {"acme-board": "acme_targets:gone"}}
    with installed(tmp_path, "acme", points, acme_targets=""):
        result = run()
    assert result.exit_code == 0
    assert "acme-board" not in result.stdout
    assert result.stderr == "left out: acme-board, of acme 1.0; see `compress plugins`\n"


def test_the_module_itself_imports_nothing_heavy():
    heavy = "{'rich', 'numpy', 'torch', 'compress.target.target'}"
    code = f"import sys, compress.cli.targets; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
