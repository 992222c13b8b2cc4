"""Rates at which a judge without labels ships a build that labels show to be outside the margin, and keeps a good one.

    python -m benchmarks run judging.study [--cache DIRECTORY] [--only spoken] [--plot docs/judging.svg]

Judged are the kept builds of every network (:mod:`benchmarks.studies.judging.prepare`), by the upper 95 % bound of the
drop, as compress decides: by the share of other answers (agreement), by what the original loses at its own temperature,
and by what compress takes, with the original's scores sharpened. A build is outside where the labels' drop over all
samples is above the margin, and well inside where it is below half of it. Where labels tell a drop in two ways (nearest
neighbours by the build alone, and among the original's; mean IoU beside the share of right pixels; perplexity, in
percent, beside the share of right tokens), the worse counts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import results
from benchmarks.studies.judging.cache import Outputs, Study, load, place
from benchmarks.studies.judging.data import Array
from benchmarks.studies.judging.scatter import scatter
from benchmarks.studies.judging.subjects import SUBJECTS
from compress.metrics.metric import Metric
from compress.metrics.output_kinds import Kind, OutputKind
from compress.metrics.unlabelled import choices, strictly, unlabelled_metric
from compress.profiling.accuracy import drop_of

#: What compress calls the outputs that a study's kind says.
_KINDS: dict[str, Kind] = {
    "classes": "classes",
    "map": "classes",
    "tokens": "tokens",
    "embedding": "embeddings",
    "values": "values",
    "probabilities": "probabilities",
}
#: Entries from which on the classes of positions are a vocabulary, of which texts are drawn.
_VOCABULARY = 100

#: Margins in points, and samples that are judged; None for all.
MARGINS, SAMPLES = (1.0, 3.0), (500, None)

#: Judges, in the order that they are told. "loss" is what compress takes.
JUDGES = ("agreement", "unsharpened", "loss")


@dataclass(frozen=True)
class Judged:
    """One build.

    Attributes:
        network: Network that it is a build of.
        build: Its name.
        drop: Drop by the labels, in points.
        told: Drop without labels by each judge, in points, by the judge's name.
        high: ``judge/samples`` → its upper bound.
    """

    network: str
    build: str
    drop: float
    told: dict[str, float]
    high: dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=SUBJECTS, action="append", help="this network; repeatable")
    parser.add_argument("--cache", type=Path, help="directory of what prepare kept")
    parser.add_argument("--keep", type=Path, help="JSON file of what was judged, read where it exists")
    parser.add_argument("--plot", type=Path, help="SVG file to draw")
    options = parser.parse_args()
    if options.keep and options.keep.exists():
        found = [Judged(**each) for each in json.loads(options.keep.read_text())]
    else:
        found = list(judged(options.only or SUBJECTS, options.cache))
        if options.keep:
            options.keep.write_text(json.dumps([asdict(each) for each in found]))
    for margin in MARGINS:
        for samples in SAMPLES:
            print(f"\nmargin {margin:g} points, {samples or 'all'} samples judged")
            print(table(found, margin, samples))
    results.record("one_point", recorded(found))
    if options.plot:
        options.plot.write_text(scatter([(each.drop, each.told) for each in found], MARGINS[0]))
    return 0


def judged(names: Iterable[str], cache: Path | None = None) -> Iterable[Judged]:
    """Judge every kept build of these networks; those without any are left out."""
    for name in names:
        if (place(cache) / name / "original.npz").exists():
            study = load(name, cache)
            for build, outputs in study.builds():
                yield _judged(study, build, outputs)


def _judged(study: Study, build: str, outputs: Outputs) -> Judged:
    info = study.original.info
    kind = _kind(info, study.original.y)
    metric = unlabelled_metric(kind)
    rows = list(metric.per_sample([_plain(outputs.y)], None, [_plain(study.original.y)]))
    values = {"loss": metric.values(rows), **_others(metric, kind, rows)}
    count = len(rows)
    drawn = np.random.default_rng(0).permutation(count)
    high = {}
    for judge, kept in values.items():
        judging = strictly(metric) if judge == "agreement" and kind.kind == "classes" else metric
        for samples in SAMPLES:
            one = kept[drawn[:samples]]
            # Of maps and sequences a sample is partly right; strictly() is for one answer each.
            right_or_wrong = judging.right_or_wrong and bool(np.isin(one, (0.0, 1.0)).all())
            fitting = replace(judging, right_or_wrong=right_or_wrong)
            high[f"{judge}/{samples}"] = drop_of(one, np.ones(len(one)), fitting).interval.high
    told = {judge: float(100 * (1 - kept.mean())) for judge, kept in values.items()}
    return Judged(info["name"], build, _true_drop(info, outputs.info), told, high)


def _kind(info: dict[str, Any], y: Array) -> OutputKind:
    """Return the kind of the output, as compress tells it from a network's graph."""
    kind = _KINDS[info["kind"]]
    if info["form"] == "sigmoids":
        kind = "probabilities"
    elif kind == "tokens" and y.shape[info["axis"]] < _VOCABULARY:
        kind = "classes"
    return OutputKind("y", 0, kind, info["axis"], "the study")


def _others(metric: Metric, kind: OutputKind, rows: Sequence[Any]) -> dict[str, Any]:
    """The judges beside compress's own; none for outputs without answers."""
    if metric.shown is None:
        return {}
    found = {"agreement": metric.shown(rows)}
    if kind.kind in ("classes", "tokens"):
        found["unsharpened"] = choices.kept_at(rows, 1.0)
    return found


def _plain(y: Array) -> Array:
    return y.astype(np.float32)


def _true_drop(original: dict[str, Any], build: dict[str, Any]) -> float:
    """Return the true drop in points; the worse of two ways where there are two."""
    drop = float(build["drop"])
    second = build["drop_2"]
    if original["kind"] in ("embedding", "map") and second is not None:
        return max(drop, float(second))
    if "perplexity" in build["whole"] and original["name"] == "decoder":
        ratio = float(build["whole"]["perplexity"]) / float(original["whole"]["perplexity"])
        return max(drop, 100 * (ratio - 1))
    return drop


def table(found: Sequence[Judged], margin: float, samples: int | None) -> str:
    """Per network and judge: shipped of those outside, kept out of those well inside."""
    lines = [
        f"{'network':18}" + "".join(f"{judge:>26}" for judge in JUDGES),
        f"{'':18}" + f"{'outside, inside':>26}" * 3,
    ]
    names = list(dict.fromkeys(each.network for each in found))
    for name in [*names, "all"]:
        own = [each for each in found if name in ("all", each.network)]
        cells = [_cell(own, judge, margin, samples) for judge in JUDGES]
        lines.append(f"{name:18}" + "".join(f"{cell:>26}" for cell in cells))
    return "\n".join(lines)


def recorded(found: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return a row for each network: what each judge would do with its builds, at a margin of one point."""
    rows = []
    for name in [*dict.fromkeys(each.network for each in found), "all"]:
        own = [each for each in found if name in ("all", each.network)]
        judges = {f"{judge}_500": _counts(own, judge, MARGINS[0], 500) for judge in JUDGES}
        rows.append({"network": name, **judges, "loss_all": _counts(own, "loss", MARGINS[0], None)})
    return rows


def _counts(found: Sequence[Judged], judge: str, margin: float, samples: int | None) -> dict[str, int] | None:
    key = f"{judge}/{samples}"
    those = [each for each in found if key in each.high]
    if not those:
        return None
    outside = [each for each in those if each.drop > margin]
    inside = [each for each in those if each.drop < margin / 2]
    return {
        "bad_shipped": sum(each.high[key] <= margin for each in outside),
        "bad": len(outside),
        "good_kept_out": sum(each.high[key] > margin for each in inside),
        "good": len(inside),
    }


def _cell(found: Sequence[Judged], judge: str, margin: float, samples: int | None) -> str:
    counts = _counts(found, judge, margin, samples)
    if counts is None:
        return "-"
    return "{bad_shipped}/{bad}, {good_kept_out}/{good}".format_map(counts)


if __name__ == "__main__":
    sys.exit(main())
