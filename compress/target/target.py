"""Targets: the devices that networks are deployed on, read from one TOML file each.

The files of ``targets/`` are data; a board that is not among them is a file of the user's own, which may
start from a known one:

    extends = "jetson-orin-nano-super"
    description = "Our camera: an Orin Nano held at 15 W."
    power_max_w = 15
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from compress.core.suggestions import did_you_mean
from compress.core.toml_schema import Field, Flag, List, Number, Table, Text, check, read_toml
from compress.errors import TargetError, UnavailableError
from compress.target.arithmetic import PEAK_OF, TENSORRT_FLAVOUR, Peaks, QuantizationFlavour
from compress.target.shape_ranges import ShapeRange

__all__ = [
    "PEAK_OF",
    "TENSORRT_FLAVOUR",
    "FurtherBackend",
    "Peaks",
    "QuantizationFlavour",
    "Target",
    "list_targets",
    "load_target",
]


@dataclass(frozen=True)
class FurtherBackend:
    """A back end beside the target's own, which competes with it where it is installed.

    Attributes:
        precisions: Precisions worth trying in it; ``fp32`` first. Float precisions are set in its session, not by casts
            in the graph.
        quantization: Form of int8 for it, where ``int8`` is among the precisions.
    """

    precisions: tuple[str, ...]
    quantization: QuantizationFlavour = TENSORRT_FLAVOUR


@dataclass(frozen=True)
class Target:
    """A device that networks are deployed on.

    Attributes:
        name: Name of the target, which is its file's name.
        aliases: Other names for it.
        family: ``cpu``, ``arm``, ``gpu``, ``jetson``, ``datacenter``; a word of the user's own otherwise.
        description: One or two sentences.
        backend: Back end of the original network: ``onnxruntime`` or ``tensorrt``.
        further_backends: Further back ends that builds may run in, by name.
        provider: ONNX Runtime's execution provider; None for TensorRT.
        further_providers: Other execution providers of ONNX Runtime that compete where the installed runtime has them,
            each with the precisions worth trying in it.
        here: Whether the target is this machine.
        memory_gb: Memory, in 10⁹ bytes.
        bandwidth_gb_s: Bandwidth of that memory, in 10⁹ bytes per second.
        peaks: Peak rates of its arithmetic.
        precisions: Precisions worth trying, in this order; ``fp32`` first.
        quantization: Form of int8 for its back end.
        batch_sizes: Batch sizes at which latency is measured: 1 and a second one, unless the user asked for others.
        input_shapes: Shapes of inputs with open axes on the target, by name: engines are built for them. Empty where
            none is known; no file of a target holds them (:mod:`compress.data.sizes`).
        calls_per_second: Calls per second of the device, such as a call for each frame of a camera; builds are then
            timed in paced calls too. None for calls back to back alone.
        launch_overhead_us: Smallest time of one kernel, in microseconds; estimates use it where no value was fitted for
            the GPU's generation (:mod:`compress.profiling.efficiency`).
        power_w: Lowest and highest power budget, in watts; None where unknown.
        compute_capability: Compute capability of the NVIDIA GPU ("8.7"); None without a GPU.
        cores: Number of processor cores; None where the processor does not run the network.
        isa: The processor's extensions that matter.
        jetpack: Release of JetPack expected on the device.
        tensorrt: Release of TensorRT expected on the device.
        opset_max: The newest ONNX opset that the back end reads; None where any will do.
        sparsity_2_4: Whether 2:4 sparse weights run faster.
        dla: Whether there are deep learning accelerators beside the GPU.
        estimated_fields: Names of the figures that are derived or assumed rather than published or read from the
            device.
        sources: Source of each figure, by its name.
    """

    name: str
    aliases: tuple[str, ...]
    family: str
    description: str
    backend: str
    provider: str | None
    here: bool
    memory_gb: float
    bandwidth_gb_s: float
    peaks: Peaks
    precisions: tuple[str, ...]
    quantization: QuantizationFlavour
    batch_sizes: tuple[int, ...]
    launch_overhead_us: float
    power_w: tuple[float, float] | None = None
    compute_capability: str | None = None
    cores: int | None = None
    isa: tuple[str, ...] = ()
    jetpack: str | None = None
    tensorrt: str | None = None
    opset_max: int | None = None
    sparsity_2_4: bool = False
    dla: bool = False
    estimated_fields: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict, hash=False)
    further_backends: Mapping[str, FurtherBackend] = field(default_factory=dict, hash=False)
    further_providers: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    calls_per_second: float | None = None
    input_shapes: Mapping[str, ShapeRange] = field(default_factory=dict, hash=False)

    def for_backend(self, name: str) -> Target:
        """Return the target with the flavour and precisions of one of its back ends.

        Raises:
            TargetError: The target has no such back end.
        """
        if name == self.backend:
            return self
        known = [self.backend, *self.further_backends]
        if name not in known:
            wanted = f"a back end of the target {self.name} ({', '.join(known)})"
            raise TargetError(wanted, f"'{name}'", did_you_mean(name, known) or "choose one of these")
        further = self.further_backends[name]
        return replace(self, backend=name, precisions=further.precisions, quantization=further.quantization)

    def ridge_point(self, precision: str) -> float | None:
        """Operations per byte of memory above which arithmetic is the limit (Williams et al. 2009)."""
        peak = self.peaks.at(precision)
        return 1e3 * peak / self.bandwidth_gb_s if peak and self.bandwidth_gb_s else None

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return asdict(self)


_PEAK = Number("10^12 operations per second", 1e-6, 1e6)
_PEAKS: Mapping[str, Field] = {
    each.name: replace(_PEAK, required=each.name == "fp32_tflops") for each in fields(Peaks)
}
_FLAVOUR: Mapping[str, Field] = {
    "activation": Text(("uint8", "int8"), required=True),
    "weight": Text(("int8",), required=True),
    **{key: Flag(required=True) for key in ("symmetric", "per_channel", "reduce_range", "quantize_bias")},
}
_FIGURES: Mapping[str, Field] = {
    "memory_gb": Number("GB", 1e-3, 1e5, required=True),
    "bandwidth_gb_s": Number("GB/s", 1e-3, 1e6, required=True),
    "power_min_w": Number("W", 1e-3, 1e5),
    "power_max_w": Number("W", 1e-3, 1e5),
    "launch_overhead_us": Number("microseconds", 0, 1e6, required=True),
    "opset_max": Number("", 1, 100, whole=True),
    "tensorrt": Text(),
    "quantization": Table(_FLAVOUR),
}
_PRECISIONS = List(Text(tuple(PEAK_OF)), shortest=1, required=True)
_FURTHER = Table({"precisions": _PRECISIONS, "quantization": Table(_FLAVOUR, required=True)})
#: Torch-TensorRT reads no Q/DQ of ONNX; TensorRT's own back end does.
_FURTHER_FLOAT = Table({"precisions": replace(_PRECISIONS, item=Text(("fp32", "fp16", "bf16")))})
_FURTHER_PROVIDERS = ("TensorrtExecutionProvider", "XnnpackExecutionProvider")
_SOURCED = (*_FIGURES, *_PEAKS)
#: Every key of a target's file.
_KEYS: Mapping[str, Field] = {
    "extends": Text(),
    "detect": Text(("cpu", "cuda")),
    "aliases": List(Text()),
    "family": Text(required=True),
    "description": Text(required=True),
    "backend": Text(("onnxruntime", "tensorrt"), required=True),
    "provider": Text(),
    **_FIGURES,
    "peaks": Table(_PEAKS, required=True),
    "precisions": _PRECISIONS,
    "further_backends": Table({"openvino": _FURTHER, "torch-tensorrt": _FURTHER_FLOAT}),
    "further_providers": Table(dict.fromkeys(_FURTHER_PROVIDERS, replace(_PRECISIONS, required=False))),
    "batch_sizes": List(Number("samples", 1, 65536, whole=True), shortest=2, longest=2, required=True),
    "calls_per_second": Number("calls per second", 1e-2, 1e4),
    "compute_capability": Text(),
    "cores": Number("", 1, 65536, whole=True),
    "isa": List(Text()),
    "jetpack": Text(),
    "sparsity_2_4": Flag(),
    "estimated": List(Text(_SOURCED)),
    "source": Table({key: Text() for key in ("default", *_SOURCED)}),
}


def load_target(name_or_path: str | Path | Target) -> Target:
    """Load a known target by its name or alias, or the user's own by the path of its file.

    Args:
        name_or_path: A name; a path (a text is one when it ends in ``.toml`` or has a separator); or a
            target, which is returned as it is.

    Raises:
        TargetError: There is no such target, or its file is wrong; the error names the key and the unit.
        UnavailableError: ``cuda`` where there is no NVIDIA GPU.
    """
    if isinstance(name_or_path, Target):
        return name_or_path
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text or "\\" in text:
        path = Path(text)
    else:
        path = _known(text)
    return _target(path, _complete(_read(path)))


def list_targets() -> list[Target]:
    """Return every known target, in the order of their names.

    One that is not on this machine though it should be (``cuda`` without a GPU) has ``here`` false and
    figures of 0.
    """
    return [_listed(path) for path in _files()]


def _files() -> list[Path]:
    """Return the known targets' files: beside the code in a wheel, beside the package in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "_targets"
    return sorted((installed if installed.is_dir() else package.parent / "targets").glob("*.toml"))


def _known(name: str) -> Path:
    """The file of a known target."""
    names: dict[str, Path] = {}
    for path in _files():
        names |= dict.fromkeys((path.stem, *_read(path).get("aliases", ())), path)
    wanted = name.strip().casefold()
    if wanted not in names:
        todo = did_you_mean(wanted, names) or "see `compress targets`, or give the path of a .toml file"
        raise TargetError("a known target", f"'{name}'", todo)
    return names[wanted]


def _read(path: Path) -> dict[str, Any]:
    """Read a file's table and check each key; it is complete only where it extends and detects nothing."""
    table = check(read_toml(path, TargetError), _KEYS, str(path), TargetError, partial=True)
    return table | {"source": _sources(table, path.name)}


def _complete(table: dict[str, Any]) -> dict[str, Any]:
    """Complete a table by the one that it extends, and by figures of this machine."""
    if "extends" in table:
        parent = _read(_known(table["extends"]))
        parent.pop("aliases", None)
        table = _over(parent, table)
    if "detect" in table:
        table = _over(_detect(table["detect"]), table)
    return table


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay one table over another; each figure keeps its source."""
    merged = below | above
    for key in ("peaks", "quantization", "source"):
        if key in merged:
            merged[key] = below.get(key, {}) | above.get(key, {})
    changed = set(_figures(above))
    kept = (key for key in below.get("estimated", ()) if key not in changed)
    return merged | {"estimated": (*kept, *above.get("estimated", ()))}


def _figures(table: Mapping[str, Any]) -> Iterator[str]:
    """Return the names of the figures in a table."""
    return (key for key in _SOURCED if key in table or key in table.get("peaks", {}))


def _sources(table: Mapping[str, Any], where: str) -> dict[str, str]:
    """Return the source of each figure in a table: the stated one, else the table itself."""
    given = table.get("source", {})
    return {key: given.get(key, given.get("default", where)) for key in _figures(table)}


def _detect(kind: str) -> dict[str, Any]:
    from compress.machine import figures, machine

    if kind == "cpu":
        table = figures.cpu_figures(machine.cpu())
    else:
        gpu = machine.gpu()
        known = {path.stem: table for path in _files() if "compute_capability" in (table := _read(path))}
        memory_gb = gpu.memory_gb or machine.cpu().memory_gb or 1.0
        table = figures.cuda_figures(gpu, memory_gb, known)
    return table | {"source": _sources(table, "this machine")}


def _listed(path: Path) -> Target:
    table = _read(path)
    try:
        return _target(path, _complete(table))
    except UnavailableError:
        figures = dict.fromkeys(_PEAKS, 1.0)
        nothing = {"description": "An NVIDIA GPU.", "memory_gb": 1.0, "bandwidth_gb_s": 1.0, "peaks": figures}
        target = _target(path, _over(nothing, table))
        return replace(target, here=False, dla=False, memory_gb=0.0, bandwidth_gb_s=0.0, peaks=Peaks(0.0))


def _target(path: Path, table: dict[str, Any]) -> Target:
    """Make a target from its complete table.

    Raises:
        TargetError: A key is missing, or two of them contradict each other.
    """
    where = str(path)
    values = check(table, _KEYS, where, TargetError)
    values.pop("extends", None)
    values["peaks"] = Peaks(**values["peaks"])
    flavour = values.pop("quantization", None)
    if flavour is None and values["backend"] == "onnxruntime":
        raise TargetError(f"quantization in {where}, {Table(_FLAVOUR).describe()}", "no such key", "add it")
    values["quantization"] = QuantizationFlavour(**flavour) if flavour else TENSORRT_FLAVOUR
    values["further_backends"] = {
        name: FurtherBackend(each["precisions"], QuantizationFlavour(**each["quantization"]))
        if "quantization" in each
        else FurtherBackend(each["precisions"])
        for name, each in values.pop("further_backends", {}).items()
    }
    values["further_providers"] = values.pop("further_providers", {})
    low, high = values.pop("power_min_w", None), values.pop("power_max_w", None)
    values["power_w"] = (low or high, high or low) if low or high else None
    target = Target(
        name=path.stem,
        aliases=values.pop("aliases", ()),
        provider=values.pop("provider", None),
        here=values.pop("detect", None) is not None,
        dla=values["peaks"].int8_dla_tops is not None,
        estimated_fields=values.pop("estimated", ()),
        sources=values.pop("source"),
        **values,
    )
    for wanted, found, key in _contradictions(target):
        raise TargetError(f"{wanted} in {where}", found, f"change {key}")
    return target


def _contradictions(target: Target) -> Iterator[tuple[str, str, str]]:
    """Return contradictions: what was wanted, what was found, and the key to change."""
    if target.power_w and target.power_w[0] > target.power_w[1]:
        low, high = target.power_w
        yield "power_min_w not above power_max_w", f"{low:g} and {high:g} W", "power_min_w"
    if target.precisions[0] != "fp32":
        yield "fp32 as the first of precisions", target.precisions[0], "precisions"
    for precision in target.precisions:
        if target.peaks.at(precision) is None:
            yield f"peaks.{PEAK_OF[precision]} for the precision {precision}", "no such key", "precisions"
    if target.backend == "tensorrt":
        if target.quantization != TENSORRT_FLAVOUR:
            yield (
                "the Q/DQ that TensorRT reads",
                "another in quantization",
                "it, or leave it out",
            )
        if target.compute_capability is None:
            yield "compute_capability for TensorRT", "no such key", "backend"
    elif target.provider is None:
        yield "provider, ONNX Runtime's execution provider", "no such key", "provider"
