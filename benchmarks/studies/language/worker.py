"""A process that holds one build of a language model and answers requests, in the environment of its own toolkit.

    python worker.py KIND PATH THREADS

It needs numpy and what its runtime needs, nothing of compress but for ``ours``. Requests and answers are lines of JSON:
``{"do": "judge", …}`` for accuracy, ``{"do": "round", …}`` for one timed prompt and answer, ``{"do": "memory"}``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_ROWS = 64


class Runtime(ABC):
    """A build, opened."""

    @abstractmethod
    def logits(self, ids: list[int]) -> Array:
        """Return the logits behind each token of a text, [tokens, vocabulary]."""

    @abstractmethod
    def timed(self, ids: list[int], steps: int) -> tuple[float, list[float]]:
        """Return the seconds to the first token of an answer to a prompt, and those of each further token."""


class OnnxRuntime(Runtime):
    """An ONNX decoder in the loop that compress ships beside it."""

    def __init__(self, path: Path, threads: int) -> None:
        sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "compress" / "language"))
        from generation import open_decoder  # type: ignore[import-not-found]  # the file that lies in a bundle, without compress

        self.decoder = open_decoder(path, threads=threads)
        self.cache: Any = None

    def logits(self, ids: list[int]) -> Array:
        """See :meth:`Runtime.logits`."""
        return np.asarray(self.decoder.begin(len(ids)).step(np.array([ids], np.int64))[0])

    def timed(self, ids: list[int], steps: int) -> tuple[float, list[float]]:
        """See :meth:`Runtime.timed`."""
        cache = self.decoder.begin(len(ids) + steps)
        start = time.perf_counter()
        token = cache.step(np.array([ids], np.int64))[:, -1].argmax(-1)
        first, times = time.perf_counter() - start, []
        for _ in range(steps):
            start = time.perf_counter()
            token = cache.step(token[:, None])[:, -1].argmax(-1)
            times.append(time.perf_counter() - start)
        return first, times


class GenAI(Runtime):
    """onnxruntime-genai with a directory that its own builder made."""

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime_genai as og  # type: ignore[import-not-found]

        settings = json.loads((path / "genai_config.json").read_text())
        options = settings["model"]["decoder"]["session_options"]
        options["intra_op_num_threads"] = threads
        (path / "genai_config.json").write_text(json.dumps(settings))
        self.og, self.model = og, og.Model(str(path))

    def _generator(self, length: int) -> Any:
        params = self.og.GeneratorParams(self.model)
        params.set_search_options(max_length=length, min_length=length, do_sample=False)
        return self.og.Generator(self.model, params)

    def logits(self, ids: list[int]) -> Array:
        """See :meth:`Runtime.logits`."""
        generator = self._generator(len(ids) + 8)
        generator.append_tokens(np.array([ids], np.int32))
        return np.array(np.asarray(generator.get_output("logits"))[0])

    def timed(self, ids: list[int], steps: int) -> tuple[float, list[float]]:
        """See :meth:`Runtime.timed`."""
        generator = self._generator(len(ids) + steps + 1)
        start = time.perf_counter()
        generator.append_tokens(np.array([ids], np.int32))
        generator.generate_next_token()
        first, times = time.perf_counter() - start, []
        for _ in range(steps):
            start = time.perf_counter()
            generator.generate_next_token()
            times.append(time.perf_counter() - start)
        return first, times


class OpenVino(Runtime):
    """OpenVINO GenAI with a directory that optimum-intel exported; accuracy from the same graph in OpenVINO itself."""

    def __init__(self, path: Path, threads: int) -> None:
        self.path, self.threads = path, threads
        self.pipeline: Any = None

    def logits(self, ids: list[int]) -> Array:
        """See :meth:`Runtime.logits`."""
        import openvino

        model = openvino.Core().compile_model(
            str(self.path / "openvino_model.xml"), "CPU", {"INFERENCE_NUM_THREADS": self.threads}
        )
        request = model.create_infer_request()
        count = len(ids)
        feeds = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, count), np.int64),
            "position_ids": np.arange(count, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        names = {name for each in model.inputs for name in each.get_names()}
        found = request.infer({name: array for name, array in feeds.items() if name in names})
        return np.array(found[0][0])

    def timed(self, ids: list[int], steps: int) -> tuple[float, list[float]]:
        """See :meth:`Runtime.timed`."""
        import openvino
        import openvino_genai as genai  # type: ignore[import-not-found]

        if self.pipeline is None:
            self.pipeline = genai.LLMPipeline(str(self.path), "CPU", INFERENCE_NUM_THREADS=self.threads)
        config = genai.GenerationConfig(max_new_tokens=steps + 1, ignore_eos=True, do_sample=False)
        tensor = openvino.Tensor(np.array([ids], np.int64))
        found = self.pipeline.generate(
            genai.TokenizedInputs(tensor, openvino.Tensor(np.ones((1, len(ids)), np.int64))), config
        )
        metrics = found.perf_metrics
        times = [each / 1e6 for each in metrics.raw_metrics.m_durations]  # microseconds, of each token
        return metrics.get_ttft().mean / 1e3, times[-steps:]


class LlamaCpp(Runtime):
    """llama.cpp's own library, called directly: no other runtime's thread beside it."""

    def __init__(self, path: Path, threads: int) -> None:
        sys.path.insert(0, str(Path(__file__).resolve().parent))
        from llama_library import Llama  # type: ignore[import-not-found]

        self.llama = Llama(Path(os.environ["LLAMA_LIBRARIES"]), path, threads)

    def logits(self, ids: list[int]) -> Array:
        """See :meth:`Runtime.logits`."""
        self.llama.forget()
        return np.asarray(self.llama.decode(ids, every=True))

    def timed(self, ids: list[int], steps: int) -> tuple[float, list[float]]:
        """See :meth:`Runtime.timed`."""
        self.llama.forget()
        start = time.perf_counter()
        token = int(self.llama.decode(ids)[-1].argmax())
        first, times = time.perf_counter() - start, []
        for _ in range(steps):
            start = time.perf_counter()
            token = int(self.llama.decode([token])[-1].argmax())
            times.append(time.perf_counter() - start)
        return first, times


KINDS: dict[str, Callable[[Path, int], Runtime]] = {
    "ours": OnnxRuntime,
    "genai": GenAI,
    "openvino": OpenVino,
    "llama": LlamaCpp,
}


def judged(logits: Array, ids: list[int], reference: Array | None) -> dict[str, Any]:
    """Return sums over the tokens of a text: negative log-likelihood, divergence from the reference, same choices."""
    nll, divergence, same = 0.0, 0.0, 0
    count = len(ids) - 1
    for start in range(0, count, _ROWS):
        rows = np.arange(start, min(start + _ROWS, count))
        logs = log_probabilities(logits[rows])
        nll -= float(logs[np.arange(len(rows)), np.array(ids)[rows + 1]].sum())
        if reference is not None:
            theirs = reference[rows].astype(np.float64)
            divergence += float((np.exp(theirs) * (theirs - logs)).sum())
            same += int((theirs.argmax(1) == logs.argmax(1)).sum())
    return {"tokens": count, "nll": nll, "divergence": divergence, "same": same}


def log_probabilities(logits: Array) -> Array:
    """Return the logarithms of probabilities, float64 [tokens, vocabulary]."""
    shifted: Array = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return shifted


def answer(build: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to one request."""
    if asked["do"] == "judge":
        rows = []
        for number, ids in enumerate(asked["texts"]):
            logits = build.logits(ids)
            kept = Path(asked["reference"]) / f"{number}.npy"
            if asked["keep"]:
                np.save(kept, log_probabilities(logits[: len(ids) - 1]).astype(np.float32))
            rows.append(judged(logits, ids, np.load(kept, mmap_mode="r")))
        return {"texts": rows}
    if asked["do"] == "round":
        first, times = build.timed(asked["ids"], asked["steps"])
        return {"first_s": first, "step_s": times}
    status = Path("/proc/self/status").read_text()
    return {"peak_kib": int(status.split("VmHWM:")[1].split()[0])}


def main() -> None:
    """Answer requests until there are no more."""
    kind, path, threads = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    build = KINDS[kind](Path(path), int(threads))
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(build, json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
