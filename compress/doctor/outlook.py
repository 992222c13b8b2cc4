"""The outlook for a target from this machine: measured, measured on a board, estimated, or unavailable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from compress.backends import load_backend
from compress.backends.providers import on_nvidia_gpu
from compress.doctor.packages import Package
from compress.doctor.system import System
from compress.hosts.board import Board

if TYPE_CHECKING:
    from compress.target.target import Target

#: ``measured``: here, or on the board that was given; ``needs-host``: with --host, an estimate without; ``estimate``:
#: in no other way; ``unavailable``: not at all before something is installed.
Verdict = Literal["measured", "needs-host", "estimate", "unavailable"]


@dataclass(frozen=True)
class Outlook:
    """Outlook for one target.

    Attributes:
        target: Name of the target.
        verdict: Verdict on the target; see :data:`Verdict`.
        reason: Reason of the verdict, one sentence.
        todo: Step that would improve the verdict; None where there is none.
    """

    target: str
    verdict: Verdict
    reason: str
    todo: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold."""
        return asdict(self)


def outlook(
    target: Target,
    machine: System,
    packages: Mapping[str, Package],
    board: tuple[str, Board] | None = None,
) -> Outlook:
    """Return the outlook for a target.

    Args:
        target: Target to examine.
        machine: This machine.
        packages: Packages, by pip's name.
        board: Address of the board, and the board that answered there; None without a board.
    """
    if target.backend == "tensorrt":
        return _with_tensorrt(target, machine, packages, board)
    backend = load_backend(target.backend)
    if not backend.installed() and target.backend != "onnxruntime":
        missing = f"{backend.title or backend.name} is not installed"
        return Outlook(target.name, "unavailable", missing, backend.how_to_install())
    runtime = _runtime(packages)
    if runtime is None:
        return Outlook(target.name, "unavailable", "ONNX Runtime is missing", packages["onnxruntime"].install)
    if target.here:
        if target.provider is None or not runtime.providers or target.provider in runtime.providers:
            untried = on_nvidia_gpu(target.provider) and not runtime.providers
            how = "this machine, where no session was tried (--quick)" if untried else "this machine"
            return Outlook(target.name, "measured", how)
        missing = runtime.problem or f"{runtime.name} {runtime.version} has no {target.provider}"
        install = packages["onnxruntime-gpu"].install
        return Outlook(target.name, "unavailable", f"a GPU is here, and {missing}", install)
    if target.compute_capability is None and target.memory_gb == 0:
        return Outlook(
            target.name,
            "unavailable",
            machine.no_gpu or "no GPU",
            "install NVIDIA's driver, or choose another target",
        )
    todo = "run compress on that very machine, with --target cpu"
    return _estimated(target, packages, "no --host leads there: its back end is ONNX Runtime", todo)


def _with_tensorrt(
    target: Target,
    machine: System,
    packages: Mapping[str, Package],
    board: tuple[str, Board] | None,
) -> Outlook:
    if board is not None:
        address, board_found = board
        if board_found.compute_capability in (None, target.compute_capability):
            return Outlook(
                target.name,
                "measured",
                f"--host {address}: {board_found.model}, TensorRT {board_found.tensorrt}",
            )
        needs, has = target.compute_capability, board_found.compute_capability
        other = f"{board_found.model} at {address} has compute capability {has}, not {needs}"
        return _estimated(target, packages, other, None)
    card = machine.gpu
    if machine.trtexec and card is not None and card.compute_capability == target.compute_capability:
        return Outlook(target.name, "measured", f"--host local: {card.name}, TensorRT {machine.tensorrt}")
    missing = _missing_for_estimates(packages)
    if machine.ssh is None:
        todo = "install OpenSSH's client (apt install openssh-client)"
        return _estimated(target, packages, "no ssh leads to a board", todo)
    if missing is not None:
        return Outlook(target.name, "unavailable", f"{missing.name} is missing", missing.install)
    return Outlook(
        target.name,
        "needs-host",
        "measured with --host user@board, estimated without",
        "compress doctor --host user@board",
    )


def _estimated(target: Target, packages: Mapping[str, Package], reason: str, todo: str | None) -> Outlook:
    missing = _missing_for_estimates(packages)
    if missing is not None:
        return Outlook(target.name, "unavailable", f"{missing.name} is missing", missing.install)
    return Outlook(target.name, "estimate", reason, todo)


def _missing_for_estimates(packages: Mapping[str, Package]) -> Package | None:
    """Return the missing packages for estimates: accuracy comes from ONNX Runtime here, time from the graph."""
    if _runtime(packages) is None:
        return packages["onnxruntime"]
    return None if packages["onnx"].usable else packages["onnx"]


def _runtime(packages: Mapping[str, Package]) -> Package | None:
    return next(
        (packages[name] for name in ("onnxruntime-gpu", "onnxruntime") if packages[name].usable), None
    )
