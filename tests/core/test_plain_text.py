"""Nothing in a name steers a terminal, begins a line, becomes markup, or runs in a script."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from compress.backends.tensorrt import build_script
from compress.bundle.programs import filling
from compress.cli import main
from compress.core.json_text import json_text
from compress.core.plain_text import one_line, plain, shell_word
from compress.core.tensor_spec import TensorSpec
from compress.errors import DataError
from compress.reports.gate_markdown import cell, code
from compress.reports.markup import tag
from compress.target.target import load_target

#: Colours, a title, a control of eight bits, turned text, a line that looks like a verdict, and markup of each kind.
HOSTILE = "\x1b[31mred\x1b]0;title\x07\x9b2J\u202etxt\r\nverdict: pass [/red] [bold]<img src=x>|`code`\x7f"

#: What a terminal may act on, or turns text around; ends of lines are looked for apart.
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@given(st.text())
def test_plain_text_steers_nothing_and_stays_on_its_line(text: str) -> None:
    for shown in (plain(text), one_line(text), str(DataError(text, text, text))):
        assert STEERING.search(shown) is None
        assert "\n" not in shown


@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "S", "Zs"))))
def test_text_that_only_shows_stays_as_it_is(text: str) -> None:
    assert plain(text) == text


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x00")))
def test_a_word_of_a_script_is_plain_and_reads_as_it_was(text: str) -> None:
    assert STEERING.search(shell_word(text)) is None


@pytest.mark.parametrize(
    "text", ["x", "", "two words", "'; touch x; '", "$(touch x)", HOSTILE, "\\0123\x1b'", "a\nb"]
)
def test_a_shell_gives_back_the_word(text: str, tmp_path: Path) -> None:
    script = f"printf %s {shell_word(text)}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, cwd=tmp_path, check=True)
    assert done.stdout.decode() == text
    assert list(tmp_path.iterdir()) == []


def test_markdown_has_no_markup_of_a_name() -> None:
    for shown in (cell(HOSTILE), code(HOSTILE), cell("# heading"), code("a`b")):
        assert STEERING.search(shown) is None
        assert re.search(r"(?<!\\)[<>|`#]", shown) is None


def test_html_has_no_markup_of_a_name() -> None:
    shown = tag("td", HOSTILE, title=HOSTILE)
    assert "<img" not in shown
    assert STEERING.search(shown.replace("\r", "")) is None


def test_json_holds_no_control_character() -> None:
    text = json_text({HOSTILE: HOSTILE})
    assert STEERING.search(text) is None
    assert json.loads(text) == {HOSTILE: HOSTILE}


def test_a_target_s_name_is_a_comment_of_the_script_on_its_one_line() -> None:
    target = replace(load_target("jetson-orin-nano-8gb"), name="evil\ntouch here\n\x1b[31m")
    script = build_script(target, [TensorSpec(HOSTILE, "float32", ("batch", 4))], "fp32")
    assert STEERING.search(script) is None
    assert not any(line.startswith(("touch", "verdict")) for line in script.splitlines())


def test_settings_are_literals_of_the_program() -> None:
    for value in ('" + exit() + "', "two\nlines", "back\\slash", HOSTILE, "plain"):
        assert eval(filling.python_literal(value)) == value
        assert STEERING.search(filling.python_literal(value)) is None


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file whose name, inputs, outputs, weights and layer are all called so."""
    x, y, w = (kind + HOSTILE for kind in ("in", "out", "w"))
    weights = numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), w)
    graph = helper.make_graph(
        [helper.make_node("MatMul", [x, w], [y], name=HOSTILE)],
        "g",
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, ["batch", 3])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    monkeypatch.chdir(tmp_path)
    name = f"net{HOSTILE}.onnx".replace("/", "")
    onnx.save(model, name)
    rows = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    groups = np.array([f"night{HOSTILE}", "day"])[np.arange(300) % 2]
    np.savez("rows.npz", x=rows, y=rows[:, :3].argmax(1), groups=groups)
    Path("policy.toml").write_text('checks = ["accuracy", "slices"]\nmax_slice_drop_points = 0.1\n')
    return name


def told(capfd: pytest.CaptureFixture[str]) -> str:
    out, err = capfd.readouterr()
    return out + err


def test_commands_show_names_as_plain_text(network: str, capfd: pytest.CaptureFixture[str]) -> None:
    reports = ("--markdown", "gate.md", "--junit", "gate.xml")
    for arguments in (
        ("inspect", network),
        ("inspect", network, "--json"),
        ("lint", network, "--target", "jetson-orin-nano-8gb"),
        ("gate", network, "--baseline", network, "--data", "rows.npz", "--policy", "policy.toml", *reports),
        ("gate", f"no{HOSTILE}", "--baseline", network),
        ("profile", network, "--data", "rows.npz", "--metric", HOSTILE),
        ("targets", "show", HOSTILE),
        (HOSTILE,),
    ):
        main(list(arguments))
        shown = told(capfd)
        assert STEERING.search(shown) is None, arguments
        assert "internal" not in shown
        assert not any(line.startswith("verdict: pass ") for line in shown.splitlines())
    for report in (Path("gate.md"), Path("gate.xml")):
        assert STEERING.search(report.read_text(encoding="utf-8")) is None
    assert re.search(r"(?<!\\)<img", Path("gate.md").read_text(encoding="utf-8")) is None
