"""Standard output is for the result, whatever the user's code prints while it is made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compress.cli import main
from compress.cli.stdout import kept_for_the_result
from compress.onnx_graph.files import save_model
from tests.graphs import classifier, samples

PRINTING = """
import os, subprocess, sys
from compress.cli.stdout import kept_for_the_result
with kept_for_the_result():
    print("by Python")
    os.write(1, b"below Python\\n")
    subprocess.run(["echo", "by a child"])
    sys.__stdout__.write("by the other name\\n")
print("result")
"""


def test_what_is_printed_in_the_block_goes_to_standard_error() -> None:
    done = subprocess.run([sys.executable, "-c", PRINTING], capture_output=True, text=True, check=True)
    assert done.stdout == "result\n"
    for told in ("by Python", "below Python", "by a child", "by the other name"):
        assert told in done.stderr


def test_standard_output_is_back_after_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        print("inside")
        raise RuntimeError

    with pytest.raises(RuntimeError), kept_for_the_result():
        fail()
    print("outside")
    assert tuple(capsys.readouterr()) == ("outside\n", "inside\n")


def test_data_and_metric_that_print_leave_one_json_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_model(classifier(), tmp_path / "net.onnx")
    np.savez("rows.npz", x=samples(40), y=np.zeros(40, np.int64))
    Path("talking_data.py").write_text(
        "import numpy as np\nprint('imported')\n"
        "class Batches:\n    def __iter__(self):\n        print('batch')\n"
        "        with np.load('rows.npz') as rows:\n            yield {name: rows[name] for name in rows}\n"
        "def val():\n    print('called')\n    return Batches()\n"
        "def score(outputs, targets):\n    print('scored')\n    return np.ones(len(outputs[0]))\n"
    )
    arguments = ["profile", "net.onnx", "--data", "talking_data:val", "--metric", "talking_data:score"]
    assert main([*arguments, "--seconds", "0.02", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["accuracy"]["mean"] == 1
    for told in ("imported", "called", "batch", "scored"):
        assert told in err
