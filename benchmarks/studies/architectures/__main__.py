"""Many architectures with random weights through every command, held against the networks themselves.

    python -m benchmarks run architectures --out architectures.md        # all, each in a process of its own
    python -m benchmarks run architectures --only unet --only "gpt 2"    # these; the table is printed
    python -m benchmarks run architectures --kept rows.jsonl --out FILE  # goes on where it was interrupted

Each is loaded in its form and exported, and that file inspected and linted for a Jetson; it is quantized and pruned (a
fifth of its units), and goes through optimize (no build is begun after 8 seconds), profile and gate (against the same
bundle, whatever the verdict). What is compared are outputs on samples that compress has not seen, in batches of 1 and 5
where it was given 48 samples in others: the largest difference from the network's own, run as it is by torch, as a
share of its largest value. The difference of int8 says nothing about accuracy, as the weights are random. A row is
wrong where the exported graph differs by more than 1e-4, or where the pruned one does not answer at these batch sizes.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import io
import json
import math
import multiprocessing
import os
import resource
import sys
import sysconfig
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import results
from benchmarks.layouts import LAYOUTS
from benchmarks.studies.architectures.own import OWN
from benchmarks.studies.architectures.published import PUBLISHED
from benchmarks.studies.architectures.samples import Architecture, Samples
from benchmarks.studies.refusals import internal_errors, refusals
from benchmarks.tables import last_line, markdown_of

ARCHITECTURES = OWN | PUBLISHED

#: Samples given to compress, and the batches that it has not seen.
GIVEN, UNSEEN = 48, (1, 5)

#: Largest difference of the exported graph, as a share of the largest value, that is rounding.
ROUNDING = 1e-4

_IMPORTED = (
    "torch.onnx",
    "onnxscript",
    "transformers",
    "compress.api.quantize",
    "compress.api.prune",
    "compress.api.optimize",
)

Row = dict[str, Any]


def main() -> None:
    """Run each architecture in a process of its own and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=list(ARCHITECTURES), help="may be given again")
    parser.add_argument("--out", default="-", help="Markdown file [default: -, printed]")
    parser.add_argument(
        "--kept", type=Path, help="JSON lines, a row each: those in it are not run again, others are added"
    )
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one architecture")
    arguments = parser.parse_args()
    for needed in _IMPORTED:  # once, before the processes part
        importlib.import_module(needed)
    kept = (
        []
        if arguments.kept is None or not arguments.kept.exists()
        else arguments.kept.read_text().splitlines()
    )
    known: dict[str, Row] = {row["name"]: row for row in map(json.loads, kept)}
    rows = []
    for name in arguments.only or ARCHITECTURES:
        rows.append(known.get(name) or in_own_process(name, arguments.timeout))
        print(last_line(LAYOUTS["architectures"], recorded(rows[-1])), file=sys.stderr, flush=True)
        if arguments.kept is not None and name not in known:
            with arguments.kept.open("a") as lines:
                lines.write(json.dumps(rows[-1]) + "\n")
        if arguments.out != "-":
            Path(arguments.out).write_text(table(rows))
    results.record("architectures", [recorded(row) for row in rows])
    if arguments.out == "-":
        print(table(rows), end="")


def in_own_process(name: str, seconds: float) -> Row:
    """Return the row of one architecture; where its process died, how. The process has what was imported here."""
    processes = multiprocessing.get_context("fork")
    receiver, sender = processes.Pipe(duplex=False)
    process = processes.Process(target=lambda: sender.send(through(name)))
    process.start()
    sender.close()
    try:
        if receiver.poll(seconds):
            row: Row = receiver.recv()
            return row
        ended = f"not done in {seconds:g} s"
    except EOFError:
        process.join()
        ended = f"internal: ended with {process.exitcode}"
    finally:
        process.kill()
        process.join()
    return {"name": name, "refused": {"process": ended}}


def through(name: str) -> Row:
    """One architecture through every command, in this process."""
    architecture = ARCHITECTURES[name]
    torch.manual_seed(0)
    torch.set_num_threads(1)
    module = settled(architecture.make().eval())
    row: Row = {"name": name, "form": architecture.form, "refused": {}, "seconds": {}}
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(sys.stderr):
        os.chdir(folder)
        try:
            _through(name, architecture, module, row)
        finally:
            os.chdir(home)
    row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return row


def settled(module: nn.Module) -> nn.Module:
    """The module with statistics of batch normalisations, and scales, that are none of the values they start with."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None:
            assert layer.running_var is not None
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.5, 1.5)
            if layer.affine:
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.normal_(layer.bias, std=0.1)
    return module


def _through(name: str, architecture: Architecture, module: nn.Module, row: Row) -> None:
    from compress import optimize, prune, quantize
    from compress.api.inputs import load_bound
    from compress.data.task import load_task
    from compress.onnx_graph.files import save_model

    np.savez("data.npz", **architecture.samples(0, GIVEN))  # type: ignore[arg-type]
    model = written(name, architecture, copy.deepcopy(module))
    options: dict[str, Any] = {"factory": "made:make"} if architecture.form == "state_dict" else {}
    expected = [own_outputs(module, architecture, count) for count in UNSEEN]

    def step(what: str, run: Callable[[], Any]) -> Any:
        return _step(row, what, run)

    loaded = step("load", lambda: load_bound(load_task("data.npz"), model, **options))
    if loaded is None:
        return
    network = loaded[0]
    exported = step("export", network.to_onnx)
    if exported is None:
        return
    save_model(exported, Path("fp32.onnx"))
    row["fp32"] = step("fp32", lambda: worst(Path("fp32.onnx"), architecture, expected))
    shapes = [f"--input={each.name}={_shape(each, architecture)}" for each in network.inputs]
    found = step("inspect", lambda: command("inspect", "fp32.onnx", "--json", *shapes))
    row["parameters"] = None if found is None else json.loads(found)["totals"]["parameters"]
    found = step("lint", lambda: command("lint", "fp32.onnx", "--target=jetson", "--json", codes=(0, 1)))
    if found is not None:
        errors = [each for each in json.loads(found)["findings"] if each["severity"] == "error"]
        row["lint"] = sorted({str(each["rule"]) for each in errors})
    if step("quantize", lambda: quantize(model, data="data.npz", out="int8.onnx", **options)):
        row["int8"] = step("int8", lambda: worst(Path("int8.onnx"), architecture, expected))
    pruned = step(
        "prune",
        lambda: prune(model, data="data.npz", target="jetson", ratio=0.2, out="pruned.pt2", **options),
    )
    if pruned is not None:
        row["removed"] = 1 - pruned.networks[1].parameters / pruned.networks[0].parameters
        step("pruned file", lambda: answers(Path("pruned.pt2"), architecture, expected))
    timing: dict[str, Any] = {"seconds": 0.05, "backends": ("onnxruntime",), "threads": 1, "time_budget": 8.0}
    result = step("optimize", lambda: optimize(model, data="data.npz", out="build", **timing, **options))
    if result is not None and result.bundle is not None:
        row["shipped"] = result.choice.candidate.recipe.name if result.choice.candidate else None
        common = ("--data=data.npz", "--json")
        step("profile", lambda: command("profile", "build", "--seconds=0.05", "--threads=1", *common))
        step("gate", lambda: command("gate", "build", "--baseline=build", *common, codes=(0, 1, 3)))


def _step(row: Row, what: str, run: Callable[[], Any]) -> Any:
    """Return the result of a step; None where it failed, which the row then tells."""
    from compress.errors import CompressError, InternalError

    begun = time.perf_counter()
    try:
        return run()
    except CompressError as error:
        row["refused"][what] = ("internal: " if isinstance(error, InternalError) else "") + str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this row's
        traceback.print_exc()
        row["refused"][what] = f"internal: {type(error).__name__}: {error}"
    finally:
        row["seconds"][what] = time.perf_counter() - begun
    return None


def written(name: str, architecture: Architecture, module: nn.Module) -> str | nn.Module:
    """Return the network that compress is given: the module, or the file of its form."""
    if architecture.form == "module":
        return module
    samples = [torch.from_numpy(array) for array in architecture.samples(1, 2).values()]
    if architecture.form == "pt2":
        names = architecture.inputs if len(samples) > 1 else ("x",)
        open_batch = tuple({0: torch.export.Dim.DYNAMIC} for _ in names)
        torch.export.save(
            torch.export.export(module, tuple(samples), dynamic_shapes=open_batch), "network.pt2"
        )
        return "network.pt2"
    if architecture.form == "torchscript":
        torch.jit.trace(module, tuple(samples), check_trace=False).save("network.ts.pt")  # type: ignore[no-untyped-call]
        return "network.ts.pt"
    torch.save(module.state_dict(), "network.pt")
    imported = "from benchmarks.studies.architectures.__main__ import ARCHITECTURES"
    source = f"{imported}\n\nmake = ARCHITECTURES[{name!r}].make\n"
    Path("made.py").write_text(source)
    return "network.pt"


def own_outputs(module: nn.Module, architecture: Architecture, count: int) -> list[np.ndarray[Any, Any]]:
    """Return the network's own outputs for so many samples that compress has not seen."""
    given = [torch.from_numpy(array) for array in unseen(architecture, count).values()]
    with torch.no_grad():
        found = (
            module(*given)
            if len(given) == 1
            else module(**dict(zip(architecture.inputs, given, strict=True)))
        )
    return [each.numpy() for each in flat(found)]


def unseen(architecture: Architecture, count: int) -> Samples:
    """So many samples, along the axis that the network takes them along."""
    samples = architecture.samples(100 + count, count)
    return {
        name: np.ascontiguousarray(np.moveaxis(array, 0, architecture.batch_axis))
        for name, array in samples.items()
    }


def flat(found: Any) -> Iterable[Tensor]:
    """The tensors of whatever a network returns, in order."""
    if isinstance(found, Tensor):
        yield found
    elif isinstance(found, Mapping):
        yield from (each for value in found.values() for each in flat(value))
    elif isinstance(found, list | tuple):
        yield from (each for value in found for each in flat(value))
    elif is_dataclass(found):
        yield from (each for field in fields(found) for each in flat(getattr(found, field.name)))


def worst(path: Path, architecture: Architecture, expected: list[list[np.ndarray[Any, Any]]]) -> float:
    """The largest difference of an ONNX file's outputs from the network's own, as a share of their largest value.

    Raises:
        ValueError: Their number or a shape is another one.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    named = [each.name for each in session.get_inputs()]
    largest = 0.0
    for count, wanted in zip(UNSEEN, expected, strict=True):
        samples = unseen(architecture, count)
        feeds = samples if len(named) > 1 else {named[0]: next(iter(samples.values()))}
        found = session.run(None, {name: feeds[name] for name in named})
        _same_shapes(found, wanted)
        largest = max([largest, *(_difference(one, other) for one, other in zip(found, wanted, strict=True))])
    return largest


def _difference(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    scale = float(np.abs(other).max(initial=1e-12))
    found = float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max(initial=0)) / scale
    return math.inf if math.isnan(found) else found


def _same_shapes(found: list[Any], wanted: list[np.ndarray[Any, Any]]) -> None:
    told = [each.shape for each in found], [each.shape for each in wanted]
    if told[0] != told[1]:
        raise ValueError(f"outputs of shapes {told[0]} where the network gives {told[1]}")


def answers(path: Path, architecture: Architecture, expected: list[list[np.ndarray[Any, Any]]]) -> None:
    """Hold that a pruned file takes the batches that the network takes, and gives finite numbers of the same shapes."""
    program = torch.export.load(str(path))
    module, form = program.module(), program.call_spec.in_spec
    assert form is not None
    by_position = form.child(0).num_children
    for count, wanted in zip(UNSEEN, expected, strict=True):
        given = {name: torch.from_numpy(array) for name, array in unseen(architecture, count).items()}
        first, others = list(given)[:by_position], list(given)[by_position:]
        with torch.no_grad():
            found = module(*(given[name] for name in first), **{name: given[name] for name in others})
        arrays = [each.numpy() for each in flat(found)]
        _same_shapes(arrays, wanted)
        pairs = zip(arrays, wanted, strict=True)
        if not all(np.isfinite(array).all() for array, other in pairs if np.isfinite(other).all()):
            raise ValueError("numbers that are not finite in the pruned network's outputs")


def _shape(spec: Any, architecture: Architecture) -> str:
    samples = unseen(architecture, 1)
    array = samples.get(spec.name, next(iter(samples.values())))
    return "x".join(map(str, array.shape)) + f":{spec.dtype}"


def command(*words: str, codes: tuple[int, ...] = (0,)) -> str:
    """Return the text that ``compress WORDS`` prints.

    Raises:
        ValueError: It ends with another code than one of ``codes``.
    """
    from compress.cli import main as compress

    printed, told = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(told):
        code = compress(list(words))
    if code not in codes:
        raise ValueError(f"exit code {code}: {told.getvalue().strip()}")
    return printed.getvalue()


def recorded(row: Row) -> Row:
    """Return a row of a result: differences as a share of the largest value, percent, seconds, MiB."""
    installed = sysconfig.get_path("purelib") + "/"
    return {
        "architecture": row["name"],
        "given_as": row.get("form", ""),
        "fp32": row.get("fp32"),
        "int8": row.get("int8"),
        "pruned_percent": None if row.get("removed") is None else round(100 * row["removed"]),
        "lint_errors": ", ".join(row["lint"]) or "none" if "lint" in row else None,
        "shipped": row.get("shipped"),
        "seconds": round(sum(row.get("seconds", {}).values())),
        "mib": round(row.get("peak_mib", 0)),
        "refused": refusals(row).replace(installed, ""),
    }


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown, and how many are right."""
    right = sum(row.get("fp32") is not None and row["fp32"] <= ROUNDING for row in rows)
    whole = sum(not row["refused"] for row in rows)
    return markdown_of(LAYOUTS["architectures"], [recorded(row) for row in rows]) + (
        f"\n{len(rows)} architectures: {right} exported as they are, {whole} through every step, "
        f"{internal_errors(rows)} with an internal error.\n"
    )


if __name__ == "__main__":
    main()
