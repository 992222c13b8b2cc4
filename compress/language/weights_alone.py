"""A decoder whose weights are rounded without any data, one matrix after another, from its files into a graph.

The graph is that of :func:`compress.quantization.weights.quantize_weights`. Beside what is written, memory holds the
largest matrix in float32, its integers, and what the programs themselves take; a killed run is taken up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.core.files import written_safely
from compress.core.json_text import json_text
from compress.core.versions import versions
from compress.errors import RecipeError
from compress.language.config import DecoderConfig
from compress.language.expert_graph import EXPERT_MATRICES
from compress.language.graph import JOURNAL, write_decoder
from compress.language.matrices import EMBEDDING, HEAD, POSITIONS, IntegerMatrix, Matrix, WrittenMatrix
from compress.language.weights import LanguageModel, expected_shapes, weight_files
from compress.machine.room import check_disk, check_memory
from compress.onnx_graph.files import size_of
from compress.quantization.weights import LayerReport, WeightOnlyReport
from compress.quantization.weights.grouped import GroupedWeight, in_pieces, relative_change
from compress.quantization.weights.scale_search import name_of, round_alone
from compress.quantization.weights.settings import Settings
from compress.quantization.weights.tables import of_table

#: Bytes of memory for a weight of the largest matrix: in float32, its integer, that packed, and some to spare.
_BYTES_A_WEIGHT = 6
#: The same for HQQ, which works on a matrix as a whole.
_BYTES_A_WEIGHT_HQQ = 24
#: Bytes of memory for Python, torch and ONNX Runtime.
_PROGRAMS = 1 << 30

_KEY = "key.json"

#: Part of the names of experts' matrices, behind that of the feed-forward part.
_EXPERTS = ".experts."


def write_rounded(
    model: LanguageModel,
    settings: Settings,
    path: Path,
    kept: Path,
    progress: Callable[[int], None] = lambda done: None,
) -> WeightOnlyReport:
    """Write a decoder with rounded weights.

    Args:
        model: The decoder.
        settings: Settings with an algorithm that needs no data.
        path: File of the graph, in a directory that exists; it appears whole or not at all.
        kept: Directory of our own on the same disk; what an earlier call with the same model and settings left there
            is taken up.
        progress: Receives the number of matrices that are done.

    Raises:
        NetworkError: A weight cannot be read or is not finite.
        RecipeError: A node to be excluded is not in the decoder.
        UsageError: There is too little memory.
        OutputError: There is too little space, or the file cannot be written.
    """
    form = _Rounding(model.config, settings)
    _check_room(model.config, settings, form, path, kept)
    _empty_unless_of(kept, _key(model, settings, path))
    layers: list[LayerReport] = []
    floats: dict[str, str] = {}

    def written(name: str, matrix: WrittenMatrix) -> None:
        node = form.node(name)
        if matrix.grid is None:
            floats[node] = form.reason(name) or ""
        else:
            algorithm = name_of(form.of(name)) if _plain(name) else settings.algorithm
            grid, symmetric = matrix.grid, settings.symmetric
            sizes = (grid.outputs, grid.inputs), grid.bits, grid.group_size, symmetric
            layers.append(LayerReport((node,), *sizes, algorithm, "", matrix.error or 0.0))
        progress(len(layers) + len(floats))

    write_decoder(model.config, model.weights, path, form, shared=True, kept=kept, written=written)
    with written_safely(kept):
        (kept / _KEY).unlink()
    return WeightOnlyReport(
        settings=settings,
        layers=tuple(layers),
        float_nodes=floats,
        samples=0,
        bytes_before=sum(file.stat().st_size for file in weight_files(model.path)),
        bytes_after=size_of(path),
    )


def matrices_of(config: DecoderConfig) -> int:
    """Return the number of matrices that :func:`write_rounded` writes."""
    return len(_matrices(config)) - (1 if config.tied_head else 0)


@dataclass(frozen=True)
class _Rounding:
    """The form of each matrix: a :data:`compress.language.matrices.Form`."""

    config: DecoderConfig
    settings: Settings

    def __post_init__(self) -> None:
        nodes = {self.node(name) for name in _matrices(self.config)}
        unknown = next((name for name in self.settings.exclude_nodes if name not in nodes), None)
        if unknown is not None:
            raise RecipeError("nodes of the network in exclude_nodes", f"'{unknown}'", "correct the recipe")

    def __call__(self, name: str, values: NDArray[np.float32]) -> Matrix:
        if self.reason(name) is not None:
            return values
        rounding = self._algorithm(name)
        if self.settings.algorithm == "hqq" and not _plain(name):  # it looks at all of a matrix
            weight = rounding(values)
            return IntegerMatrix(weight, self.settings.compute, relative_change(values, weight))
        weight, error = in_pieces(values, rounding)
        return IntegerMatrix(weight, self.settings.compute, error)

    def reason(self, name: str) -> str | None:
        """Return why a matrix stays float; None where it is rounded."""
        table = self.config.tied_head and name in (EMBEDDING, HEAD)
        size = self.settings.group_size
        if {self.node(name), *(map(self.node, (EMBEDDING, HEAD)) if table else ())} & {
            *self.settings.exclude_nodes
        }:
            return "excluded by the recipe"
        if name.endswith(".mlp.gate"):
            return "it chooses experts, and is small"
        if _EXPERTS in name:
            odd = [width for width in self._inputs_of_experts() if width % size or width == size]
            return f"its {odd[0]} inputs are not two or more whole groups of {size}" if odd else None
        if name == EMBEDDING and not table:
            return "its rows are looked up, and not multiplied by"
        if table and self.config.hidden % size:
            return f"its {self.config.hidden} columns are no whole groups of {size}"
        if self.inputs(name) < size:
            return f"its {self.inputs(name)} inputs are fewer than a group of {size}"
        return None

    def inputs(self, name: str) -> int:
        """Return the number of inputs of a matrix."""
        shape = self._shapes.get(f"{name}.weight")
        return self.config.hidden if shape is None else shape[1]  # several that read one input are one matrix

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return expected_shapes(self.config)

    def _inputs_of_experts(self) -> tuple[int, ...]:
        """Return the numbers of inputs of an expert's matrices."""
        experts = self.config.experts
        return () if experts is None else (self.config.hidden, experts.intermediate)

    def node(self, name: str) -> str:
        """Return the name of the node that multiplies by a matrix, or looks rows of it up."""
        config = self.config
        if name == HEAD:
            return "logits"
        if name == EMBEDDING:
            return "embedding" if config.embedding_scale == 1 else "embedding.rows"
        if _EXPERTS in name:
            return f"{name[: name.index(_EXPERTS)]}.mixture"
        biased = (
            config.output_bias
            if name.endswith(".o_proj")
            else config.qkv_bias
            if ".self_attn." in name
            else config.mlp_bias
        )
        return f"{name}.product" if biased else name

    def _algorithm(self, name: str) -> Callable[[NDArray[np.float32]], GroupedWeight]:
        if self.settings.algorithm == "hqq" and not _plain(name):
            from compress.quantization.weights import neural_compressor

            return partial(neural_compressor.hqq, settings=self.settings)
        return partial(round_alone, settings=self.of(name))

    def of(self, name: str) -> Settings:
        """Return the settings of one matrix."""
        return of_table(self.settings) if name == EMBEDDING else self.settings


def _matrices(config: DecoderConfig) -> list[str]:
    """Return the names of a decoder's matrices, in the order in which they run."""
    fused = ("q_proj", "k_proj", "v_proj") if config.qk_norm else ("qkv_proj",)
    parts = [f"self_attn.{matrix}" for matrix in (*fused, "o_proj")]
    inner = (*(("gate_proj",) if config.gated else ()), "up_proj", "down_proj")
    dense, mixture = (
        [f"mlp.{matrix}" for matrix in inner],
        ["mlp.gate", *(f"mlp.{matrix}" for matrix in EXPERT_MATRICES)],
    )
    if config.experts is not None and config.experts.shared is not None:
        mixture += [f"mlp.shared_expert.{matrix}" for matrix in inner] + ["mlp.shared_expert_gate"]
    layers = [
        f"model.layers.{layer}.{part}"
        for layer in range(config.layers)
        for part in (*parts, *(mixture if config.has_experts(layer) else dense))
    ]
    return [EMBEDDING, *layers, HEAD]


def _plain(name: str) -> bool:
    """Whether a matrix is rounded without data, and by no HQQ, whatever the algorithm."""
    return name == EMBEDDING or _EXPERTS in name


def _check_room(
    config: DecoderConfig, settings: Settings, form: _Rounding, path: Path, directory: Path
) -> None:
    """Refuse a decoder that neither this machine's memory nor the disk has room for."""
    sizes = {
        name.removesuffix(".weight"): math.prod(shape)
        for name, shape in expected_shapes(config).items()
        if len(shape) == 2
    }
    fused = config.hidden * config.head_dim * (config.heads + 2 * config.kv_heads)
    a_weight = _BYTES_A_WEIGHT_HQQ if settings.algorithm == "hqq" else _BYTES_A_WEIGHT
    experts = config.experts
    together = 0 if experts is None else experts.count * 2 * experts.intermediate * config.hidden
    largest = max(*sizes.values(), 0 if config.qk_norm else 2 * fused, together)
    work = f"to round a matrix of {max(sizes.values()) / 1e6:,.0f} million weights"
    check_memory(a_weight * largest + _PROGRAMS, work)
    size_needed = 0.0
    for name, size in sizes.items():
        bits = settings.tied_bits if name == EMBEDDING else settings.bits
        grouped = bits / 8 + (4 + (0 if settings.symmetric else 1)) / settings.group_size
        floats = form.reason(name) is not None or name == POSITIONS
        size_needed += size * (4 if floats else grouped)
    written = sum(file.stat().st_size for file in directory.iterdir())
    check_disk(path.parent, int(size_needed) - written, f"for {path.name}")


def _key(model: LanguageModel, settings: Settings, path: Path) -> dict[str, Any]:
    """Return all that what is written depends on; a file of weights is known by its size and when it was changed."""
    files = {file.name: file.stat() for file in weight_files(model.path)}
    return {
        "model": str(model.path.resolve()),
        "files": {name: [stat.st_size, stat.st_mtime_ns] for name, stat in files.items()},
        "config": asdict(model.config),
        "settings": settings.to_dict(),
        "out": path.name,
        "versions": versions(),
    }


def _empty_unless_of(directory: Path, key: dict[str, Any]) -> None:
    """Empty a directory of what another call has left, and write there what it now belongs to."""
    file, text = directory / _KEY, json_text(key)
    with written_safely(directory):
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            for leftover in (directory / JOURNAL, *directory.glob("*.data")):
                leftover.unlink(missing_ok=True)
            file.write_text(text, encoding="utf-8")
