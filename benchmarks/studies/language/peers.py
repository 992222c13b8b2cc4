"""The other toolkits: an environment for each under a cache directory, versions pinned, and the builds they make."""

from __future__ import annotations

import json
import sys
import tarfile
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.environments import SkippedError, printed, python_with
from benchmarks.studies.language.llama_library import TYPES

#: Packages of each environment. The two want different releases of transformers.
PACKAGES = {
    "genai": (
        "onnxruntime-genai==0.18.0",
        "transformers==5.24.0",
        "torch==2.13.0",
        "onnx==1.23.2",
        "onnx-ir==1.1.0",
    ),
    "openvino": (
        "optimum-intel==1.27.0",
        "transformers==4.57.6",
        "nncf==3.4.0",
        "openvino==2026.4.1",
        "openvino-genai==2026.4.1.0",
        "torch==2.13.0",
    ),
}
LLAMA = "@node-llama-cpp/linux-x64@3.22.1"

_GENAI = ("-p", "int4", "-e", "cpu", "--extra_options", "int4_block_size=32", "int4_accuracy_level=4")
_OPENVINO = """
    import sys
    from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig
    source, target, bits = sys.argv[1:]
    more = {"group_size": 64, "sym": True, "ratio": 1.0} if bits == "4" else {}
    config = OVWeightQuantizationConfig(bits=int(bits), **more)
    OVModelForCausalLM.from_pretrained(source, export=True, quantization_config=config).save_pretrained(target)
"""


@dataclass(frozen=True)
class Build:
    """A build of the model.

    Attributes:
        name: Name in the table.
        kind: Kind of worker that runs it; see :mod:`benchmarks.studies.language.worker`.
        path: File or directory of it.
        python: Interpreter of its environment.
        bytes: Size of its files, tokenizer and settings left out.
        read: Bytes of weights that a step reads.
        environment: Variables of its environment.
    """

    name: str
    kind: str
    path: Path
    python: str
    bytes: int
    read: int
    environment: dict[str, str]


class Peers:
    """Builds of the other toolkits.

    Args:
        cache: Directory of environments and packages, kept from run to run.
        work: Directory of the builds.
        model: Directory of the model as transformers reads it.
        gguf: The model as a GGUF file.
        read: Function that returns the bytes of weights that a step of an ONNX decoder reads.
    """

    def __init__(self, cache: Path, work: Path, model: Path, gguf: Path, read: Callable[[Path], int]) -> None:
        self._cache, self._work, self._model, self._gguf, self._read = cache, work, model, gguf, read

    def builds(self) -> tuple[list[Build], list[str]]:
        """Return the builds, and a sentence for each peer that is skipped."""
        found: list[Build] = []
        skipped = []
        for make in (self._genai, self._openvino, self._llama):
            try:
                found += make()
            except (SkippedError, OSError) as error:
                skipped.append(f"{make.__name__.strip('_')} is skipped: {error}")
        return found, skipped

    def _genai(self) -> list[Build]:
        python, target = self._environment("genai"), self._work / "genai-int4"
        if not (target / "model.onnx").exists():
            places = ("-i", self._model, "-o", target, "-c", self._cache / "genai-cache")
            builder = [python, "-m", "onnxruntime_genai.models.builder", *map(str, places), *_GENAI]
            printed(builder)
        path = target / "model.onnx"
        size = sum(each.stat().st_size for each in target.glob("model.onnx*"))
        return [Build("ONNX Runtime GenAI int4", "genai", target, python, size, self._read(path), {})]

    def _openvino(self) -> list[Build]:
        python, found = self._environment("openvino"), []
        for bits in ("8", "4"):
            target = self._work / f"openvino-int{bits}"
            if not (target / "openvino_model.bin").exists():
                printed([python, "-c", textwrap.dedent(_OPENVINO), str(self._model), str(target), bits])
            size = sum(each.stat().st_size for each in target.glob("openvino_model.*"))
            read = (target / "openvino_model.bin").stat().st_size
            found.append(Build(f"OpenVINO GenAI int{bits}", "openvino", target, python, size, read, {}))
        return found

    def _llama(self) -> list[Build]:
        folder = self._cache / "llama" / "package" / "bins" / "linux-x64"
        if not folder.exists():
            self._cache.mkdir(parents=True, exist_ok=True)
            packed = printed(["npm", "pack", LLAMA, "--silent", "--pack-destination", str(self._cache)])
            with tarfile.open(self._cache / packed.split()[-1]) as archive:
                archive.extractall(self._cache / "llama", filter="data")
        found = []
        for kind in TYPES:
            target = self._work / f"{kind}.gguf"
            if not target.exists():
                code = (
                    "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import llama_library as l; "
                    "l.quantize(*map(pathlib.Path, sys.argv[2:5]), sys.argv[5])"
                )
                here = str(Path(__file__).parent)
                printed([sys.executable, "-c", code, here, *map(str, (folder, self._gguf, target)), kind])
            size = target.stat().st_size
            variables = {"LLAMA_LIBRARIES": str(folder)}
            found.append(Build(f"llama.cpp {kind}", "llama", target, sys.executable, size, size, variables))
        return found

    def _environment(self, name: str) -> str:
        """Return the interpreter of a peer's environment, which is made where it is missing."""
        return python_with(self._cache / name, PACKAGES[name])


def write_model(source: Path, directory: Path) -> Path:
    """Write a model as transformers reads it, with the tokenizer that the GGUF file names, and return where."""
    from safetensors.numpy import save_file

    from compress.language.genai import tokenizer_config
    from compress.language.tokenizer import chat_template, open_tokenizer
    from compress.language.weights import expected_shapes, open_language_model

    model = open_language_model(source)
    config = model.config
    if config.family != "llama" or config.rope is None:
        raise SkippedError(f"wanted a model of the family llama; found {config.family}")
    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: np.ascontiguousarray(model.weights[name]) for name in expected_shapes(config)}
    save_file(tensors, directory / "model.safetensors", {"format": "pt"})
    tokenizer = open_tokenizer(model)
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = tokenizer_config(config, tokenizer, chat_template(model))
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    told = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": config.hidden,
        "intermediate_size": config.intermediate,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocabulary,
        "max_position_embeddings": config.context,
        "rms_norm_eps": config.norm_eps,
        "rope_theta": config.rope.theta,
        "hidden_act": "silu",
        "tie_word_embeddings": config.tied_head,
        "bos_token_id": config.bos,
        "eos_token_id": next(iter(config.eos)),
        "torch_dtype": "float32",
    }
    (directory / "config.json").write_text(json.dumps(told))
    return directory
