"""Train the networks, make their builds, and keep what all of them answer.

    python -m benchmarks run judging.prepare [--only spoken] [--cache DIRECTORY] [--seconds 400] [--stage train]

Everything that is done is kept, so a run that was stopped goes on where it was; exit code 3 says that time ran out.
The same seed gives the same figures on the same kind of processor with the same releases.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.studies.judging import damage, recipes
from benchmarks.studies.judging.cache import info_of, place, read, write
from benchmarks.studies.judging.damage import Damage
from benchmarks.studies.judging.data import Array, Data, kept
from benchmarks.studies.judging.networks import Ended
from benchmarks.studies.judging.planning import damages
from benchmarks.studies.judging.subjects import SUBJECTS, Subject
from benchmarks.studies.judging.training import Clock, OutOfTimeError, channels_last, go_on, train
from compress.errors import CompressError
from compress.recipe import Recipe

_OUT_OF_TIME = 3


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=SUBJECTS, action="append", help="this one; repeatable")
    parser.add_argument("--cache", type=Path, help="directory of everything that is kept")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop when so many are over")
    parser.add_argument("--stage", choices=("train", "damage", "all"), default="all", help="stop after it")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = Clock(time.monotonic() + options.seconds)
    try:
        failed = [name for name in options.only or SUBJECTS if not _prepared(name, options, clock)]
    except OutOfTimeError:
        print("out of time; run it again to go on", flush=True)
        return _OUT_OF_TIME
    return 1 if failed else 0


def _prepared(name: str, options: argparse.Namespace, clock: Clock) -> bool:
    """Whether a network is complete; what one cannot do does not stop the others."""
    try:
        Preparation(SUBJECTS[name], place(options.cache) / name, clock, options.seed).run(options.stage)
    except (CompressError, RuntimeError, ValueError, TypeError, LookupError, OSError) as error:
        print(f"  {name} failed: {type(error).__name__}: {error}", flush=True)
        traceback.print_exc()
        return False
    return True


class Preparation:
    """One network, from its data to the outputs of its builds."""

    def __init__(self, subject: Subject, directory: Path, clock: Clock, seed: int) -> None:
        self.subject, self.directory, self.clock, self.seed = subject, directory, clock, seed
        self._original: Array | None = None

    def run(self, stage: str) -> None:
        """All that is missing, up to a stage.

        Raises:
            OutOfTimeError: Time is over; what is done is kept.
        """
        done = self.directory / f"{stage}.done"
        if done.exists():
            return
        print(self.subject.name, flush=True)
        data = (
            kept(self.directory / "data.npz", self.subject.data)
            if self.subject.kept_data
            else self.subject.data()
        )
        subject = self.subject
        network = train(
            subject.make,
            data.training,
            subject.loss,
            subject.augment,
            subject.schedule,
            self.directory,
            self.clock,
            self.seed,
        )
        maker = recipes.Maker(subject, network, data)
        self._keep_original(network, maker, data)
        if stage != "train":
            self._damage(channels_last(network), data)
        if stage == "all":
            self._compress(maker, data)
        done.touch()

    def _keep_original(self, network: Ended, maker: recipes.Maker, data: Data) -> None:
        path = self.directory / "original.npz"
        if not path.exists():
            started = time.perf_counter()
            y = maker.outputs(recipes.Build(Recipe("fp32")))
            labels, truth = data.evaluation.y, self.subject.truth
            found = truth.find(y, labels, y)
            info = {
                "name": self.subject.name,
                "told": self.subject.told,
                "kind": self.subject.kind,
                "axis": self.subject.axis,
                "form": self.subject.form,
                "metric": truth.name,
                "metric_2": truth.name_2,
                "lower_is_better": truth.lower_is_better,
                "value": float(found.metric.mean()),
                "value_2": None if found.metric_2 is None else float(found.metric_2.mean()),
                "whole": found.whole,
                "parameters": sum(each.numel() for each in network.parameters()),
                "confidence": _confidence(self.subject, y),
                "seconds": round(time.perf_counter() - started, 1),
            }
            write(path, self._stored(y), found, info, labels)
            print(
                f"  original: {truth.name} {info['value']:.4f}, confidence {info['confidence']}", flush=True
            )
        self._original = read(path).y

    def _damage(self, network: Ended, data: Data) -> None:
        def drop_of(each: Damage) -> float:
            def run() -> Array:
                return damage.run(each.make(network), data.evaluation.x)

            told = {"family": each.family, "level": each.level, "seed": each.seed}
            return self._keep_build(each.name, run, told, data)

        for each in damages(self.subject, self.directory / "epochs", drop_of):
            drop_of(each)
        for seed in (1, 2):

            def run(seed: int = seed) -> Array:
                again = channels_last(network)
                subject = self.subject
                go_on(again, data.training, subject.loss, subject.augment, subject.schedule, 50 * seed, seed)
                return damage.run(again, data.evaluation.x)

            self._keep_build(f"further-{seed}", run, {"family": "further", "level": seed, "seed": seed}, data)

    def _compress(self, maker: recipes.Maker, data: Data) -> None:
        path = self.directory / "skipped.json"
        skipped: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        for build in recipes.builds(self.subject.thorough):
            name = build.recipe.name
            if name in skipped:
                continue
            told: dict[str, Any] = {
                "family": "recipe",
                "level": None,
                "seed": 0,
                "recipe": build.recipe.to_dict(),
            }
            told |= {
                "flavour": dict(build.flavour),
                "calibrated_on": build.calibrated_on,
                "energy": build.energy,
            }
            try:
                self._keep_build(name, lambda build=build: maker.outputs(build), told, data)  # type: ignore[misc]
            except CompressError as error:
                skipped[name] = f"{type(error).__name__}: {error}"
                print(f"  {name}: {skipped[name]}"[:200], flush=True)
                path.write_text(json.dumps(skipped, indent=2) + "\n")

    def _keep_build(self, name: str, run: Callable[[], Array], told: dict[str, Any], data: Data) -> float:
        """Make a build where it is not there yet; its drop."""
        path = self.directory / "builds" / f"{name}.npz"
        if path.exists():
            return float(info_of(path)["drop"])
        self.clock.check()
        started = time.perf_counter()
        y = run()
        assert self._original is not None
        truth, original = self.subject.truth, read(self.directory / "original.npz")
        found = truth.find(y, data.evaluation.y, self._original)
        second = found.metric_2 is not None and original.metric_2 is not None
        info = {
            "name": name,
            **told,
            "value": float(found.metric.mean()),
            "value_2": float(np.mean(found.metric_2)) if second else None,  # type: ignore[arg-type]
            "drop": truth.drop(original.metric, found.metric),
            "drop_2": truth.drop(original.metric_2, found.metric_2) if second else None,  # type: ignore[arg-type]
            "whole": found.whole,
            "agreement": recipes.agreement(self.subject.kind, y, self._original.astype(np.float32)),
            "seconds": round(time.perf_counter() - started, 1),
        }
        write(path, self._stored(y), found, info)
        print(
            f"  {name}: drop {info['drop']:.2f}, agreement {info['agreement']:.2f}, {info['seconds']} s",
            flush=True,
        )
        return float(info["drop"])

    def _stored(self, y: Array) -> Array:
        return y.astype(np.float16 if self.subject.half else np.float32)


def _confidence(subject: Subject, y: Array) -> float | None:
    """Mean of the largest softmax value, or of how sure sigmoids are of what they say."""
    if subject.kind in ("embedding", "values"):
        return None
    if subject.form == "sigmoids":
        return round(float(np.maximum(y, 1 - y).mean()), 4)
    assert subject.axis is not None
    if subject.form == "probabilities":
        return round(float(y.max(subject.axis).mean()), 4)
    largest = y.max(subject.axis, keepdims=True)
    return round(float((1 / np.exp(y - largest).sum(subject.axis)).mean()), 4)


if __name__ == "__main__":
    sys.exit(main())
