"""Targets: the devices that networks are deployed on, read from one TOML file each.

The files of ``targets/`` are data; a board that is not among them is a file of the user's own, which may
start from a known one. Another distribution adds some under the entry point group ``compress.targets``: the name is the
target's, the object the :class:`~pathlib.Path` of its file, which has the same name. An own file may read:

    extends = "jetson-orin-nano-super"
    description = "Our camera: an Orin Nano held at 15 W."
    power_max_w = 15
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from compress.core.registry import Entry, Registry, what
from compress.core.suggestions import did_you_mean
from compress.core.toml_schema import Table, check, read_toml
from compress.errors import CompressError, TargetError, UnavailableError
from compress.target.arithmetic import PEAK_OF, TENSORRT_FLAVOUR, Peaks, QuantizationFlavour
from compress.target.backends import BACKENDS
from compress.target.keys import FLAVOUR, KEYS, PEAKS, SOURCED
from compress.target.price import Price
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
        backend: Name of the back end that the original network runs in.
        further_backends: Name → what else builds may run in.
        provider: ONNX Runtime's execution provider; None where another back end runs the network.
        further_providers: Its other execution providers that compete where the installed runtime has them, each with
            the precisions worth trying in it.
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
    price: Price | None = None

    def for_backend(self, name: str) -> Target:
        """Return the target with the flavour and precisions of one of its back ends.

        A back end that the target's file does not list may know by itself what is worth trying there.

        Raises:
            TargetError: The target has no such back end.
            UnavailableError: The package that provides the back end cannot be imported.
        """
        if name == self.backend:
            return self
        further = self.further_backends.get(name) or self._offered(name)
        if further is None:
            names = [self.backend, *self.further_backends]
            wanted = f"a back end of the target {self.name} ({', '.join(names)})"
            raise TargetError(wanted, f"'{name}'", did_you_mean(name, names) or "choose one of these")
        return replace(self, backend=name, precisions=further.precisions, quantization=further.quantization)

    def _offered(self, name: str) -> FurtherBackend | None:
        """Return a back end's own table for this target; None where there is none of that name, or it says nothing."""
        if name not in BACKENDS:
            return None
        backend = BACKENDS.load(name)()
        precisions = backend.precisions(self)
        return FurtherBackend(precisions, backend.flavour or self.quantization) if precisions else None

    def ridge_point(self, precision: str) -> float | None:
        """Operations per byte of memory above which arithmetic is the limit (Williams et al. 2009)."""
        peak = self.peaks.at(precision)
        return 1e3 * peak / self.bandwidth_gb_s if peak and self.bandwidth_gb_s else None

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return asdict(self)


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
    """Return every known target, by name; one of another distribution only where its file can be read.

    One that is not on this machine though it should be (``cuda`` without a GPU) has ``here`` false and
    figures of 0.
    """
    targets = [_listed(path) for path in _files()]
    for entry in TARGETS.added():
        with suppress(CompressError):  # `compress plugins` and whoever names it are told why
            targets.append(_listed(TARGETS.load(entry.name)))
    return sorted(targets, key=lambda target: target.name)


def check_target(entry: Entry) -> str | None:
    """Return what is wrong with the file of a registered target, in one line; None where nothing is."""
    problem = TARGETS.problem(entry)
    if problem is None:
        try:
            _listed(TARGETS.load(entry.name))
        except CompressError as error:
            return str(error)
    return problem


def _files() -> list[Path]:
    """Return the known targets' files: beside the code in a wheel, beside the package in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "_targets"
    return sorted((installed if installed.is_dir() else package.parent / "targets").glob("*.toml"))


def _built_in() -> dict[str, str]:
    return {path.stem: str(path) for path in _files()}


def _is_file_named(name: str, candidate: object) -> str | None:
    if not isinstance(candidate, Path):
        return what(candidate)
    return None if candidate.name == f"{name}.toml" else f"a file with another name, {candidate}"


#: Every target that has a name. The aliases of its file are known once it is read.
TARGETS: Registry[Path] = Registry(
    "target",
    "compress.targets",
    _built_in,
    wanted="the path of a TOML file with the target's name",
    check=_is_file_named,
    error=TargetError,
    todo="see `compress targets`, or give the path of a .toml file",
    load_built_in=Path,
)


def _known(name: str) -> Path:
    """The file of a known target."""
    folded = name.strip().casefold()
    for spelling in (name.strip(), folded):
        if spelling in TARGETS:
            return TARGETS.load(spelling)
    names: dict[str, list[Path]] = {}
    for path in (*_files(), *_added()):
        for alias in _read(path).get("aliases", ()):
            names.setdefault(alias, []).append(path)
    if folded not in names:
        todo = (
            did_you_mean(folded, [*TARGETS.names(), *names])
            or "see `compress targets`, or give the path of a .toml file"
        )
        raise TargetError("a known target", f"'{name}'", todo)
    if len(names[folded]) > 1:
        paths_text = " and ".join(str(path) for path in names[folded])
        raise TargetError(f"one target with the alias '{name}'", paths_text, "give the name of one of them")
    return names[folded][0]


def _added() -> Iterator[Path]:
    """The files of targets that other distributions bring, as far as they can be read."""
    for entry in TARGETS.added():
        with suppress(CompressError):
            path = TARGETS.load(entry.name)
            _read(path)
            yield path


def _read(path: Path) -> dict[str, Any]:
    """The table of a file, each key checked; complete only where it extends nothing and detects nothing."""
    table = check(read_toml(path, TargetError), KEYS, str(path), TargetError, partial=True)
    return table | {"source": _sources(table, path.name)}


def _complete(table: dict[str, Any]) -> dict[str, Any]:
    """The table over the one that it extends, over what this machine says."""
    table = _extended(table)
    if "detect" in table:
        table = _over(_detect(table["detect"]), table)
    return table


def _extended(table: dict[str, Any], seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The table over the one that it extends, which may extend another."""
    if "extends" not in table:
        return table
    path = _known(table["extends"])
    if path in seen:
        circle = " → ".join(file.name for file in (*seen, path))
        raise TargetError(
            "targets that do not extend each other in a circle", circle, f"change extends in {path}"
        )
    parent = _extended(_read(path), (*seen, path))
    parent.pop("aliases", None)
    return _over(parent, table)


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay one table over another; each figure keeps its source."""
    merged = below | above
    for key in ("peaks", "quantization", "source"):
        if key in merged:
            merged[key] = below.get(key, {}) | above.get(key, {})
    changed = set(_figures(above))
    estimated_below = (key for key in below.get("estimated", ()) if key not in changed)
    return merged | {"estimated": (*estimated_below, *above.get("estimated", ()))}


def _figures(table: Mapping[str, Any]) -> Iterator[str]:
    """The figures that a table gives."""
    return (key for key in SOURCED if key in table or key in table.get("peaks", {}))


def _sources(table: Mapping[str, Any], where: str) -> dict[str, str]:
    """Return the source of each figure in a table: the stated one, else the table itself."""
    sources = table.get("source", {})
    return {key: sources.get(key, sources.get("default", where)) for key in _figures(table)}


def _detect(kind: str) -> dict[str, Any]:
    from compress.machine import figures, machine

    if kind == "cpu":
        table = figures.cpu_figures(machine.cpu())
    else:
        gpu = machine.gpu()
        tables_by_name = {
            path.stem: table for path in _files() if "compute_capability" in (table := _read(path))
        }
        memory_gb = gpu.memory_gb or machine.cpu().memory_gb or 1.0
        table = figures.cuda_figures(gpu, memory_gb, tables_by_name)
    return table | {"source": _sources(table, "this machine")}


def _listed(path: Path) -> Target:
    table = _read(path)
    try:
        return _target(path, _complete(table))
    except UnavailableError:
        figures = dict.fromkeys(PEAKS, 1.0)
        nothing = {"description": "An NVIDIA GPU.", "memory_gb": 1.0, "bandwidth_gb_s": 1.0, "peaks": figures}
        target = _target(path, _over(nothing, table))
        return replace(target, here=False, dla=False, memory_gb=0.0, bandwidth_gb_s=0.0, peaks=Peaks(0.0))


def _target(path: Path, table: dict[str, Any]) -> Target:
    """Make a target from its complete table.

    Raises:
        TargetError: A key is missing, or two of them contradict each other.
    """
    where = str(path)
    values = check(table, KEYS, where, TargetError)
    values.pop("extends", None)
    values["peaks"] = Peaks(**values["peaks"])
    values["price"] = Price(**values["price"]) if "price" in values else None
    values["quantization"] = _flavour(values["backend"], values, where, "")
    values["further_backends"] = {
        name: FurtherBackend(entry["precisions"], _flavour(name, entry, where, f"further_backends.{name}."))
        for name, entry in values.pop("further_backends", {}).items()
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
    for wanted, contradiction, key in _contradictions(target):
        raise TargetError(f"{wanted} in {where}", contradiction, f"change {key}")
    return target


def _flavour(backend: str, table: Mapping[str, Any], where: str, within: str) -> QuantizationFlavour:
    """Return the form of int8 for a back end: as its table says, else as the back end itself does.

    Args:
        backend: Its name.
        table: The one that lists its precisions.
        where: The file, for messages.
        within: The table's own name and a dot, when it lies inside another; for messages.

    Raises:
        TargetError: Neither says it, or the back end does not compute in one of the precisions.
    """
    there = BACKENDS.load(backend)
    for precision in table["precisions"]:
        if precision not in there.computes:
            wanted = f"precisions of {backend} ({', '.join(there.computes)}) in {where}"
            raise TargetError(wanted, precision, f"change {within}precisions")
    if "quantization" in table:
        return QuantizationFlavour(**table["quantization"])
    if there.flavour is None and "int8" in table["precisions"]:
        wanted = f"{within}quantization in {where}, {Table(FLAVOUR).describe()}"
        raise TargetError(wanted, "no such key", "add it")
    return there.flavour or TENSORRT_FLAVOUR


def _contradictions(target: Target) -> Iterator[tuple[str, str, str]]:
    """Return contradictions: what was wanted, what was found, and the key to change."""
    if target.power_w and target.power_w[0] > target.power_w[1]:
        low, high = target.power_w
        yield "power_min_w not above power_max_w", f"{low:g} and {high:g} W", "power_min_w"
    if target.price is not None and not (target.price.per_hour or target.price.per_kwh):
        yield "price.per_hour or price.per_kwh above 0", "neither", "price"
    if target.precisions[0] != "fp32":
        yield "fp32 as the first of precisions", target.precisions[0], "precisions"
    for precision in target.precisions:
        if target.peaks.at(precision) is None:
            yield f"peaks.{PEAK_OF[precision]} for the precision {precision}", "no such key", "precisions"
    backend = BACKENDS.load(target.backend)()
    title = backend.title or backend.name
    if backend.beside_only:
        yield (
            "a back end that the original network can run in",
            f"{title}, which competes beside one",
            "backend",
        )
    if backend.flavour not in (None, target.quantization):
        yield f"the Q/DQ that {title} reads", "another in quantization", "it, or leave it out"
    yield from backend.contradictions(target)
