"""The time of one layer of a build: measured by the runtime's own profiler, or estimated by a roofline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

from compress.records.former_dict import FormerDict

Bound = Literal["compute", "memory", "launch"]


@dataclass(frozen=True)
class LayerTime(FormerDict):
    """A layer as the runtime runs it, and its time in one call.

    A host fills in what it knows: only the name and the operator are always there.

    Attributes:
        name: Name in the graph or the runtime.
        operator: Operator of the layer, or those fused into it; "unknown" where the runtime does not tell.
        ms: Time in one call, in milliseconds; None where it was not recorded.
        source: Origin of the time, "measured" or "estimated"; None where it was not recorded.
        precision: Precision it computes in: "fp32", "int8", …; None where it is unknown.
        kind: Class of operators it belongs to; None where it is unknown.
        outputs: Shape of each output; None where they are unknown.
        parameters: Number of its parameters; None where it is unknown.
        macs: Multiply-accumulates in one call; None where they are unknown.
        bytes: Number of bytes that it reads and writes in one call; None where it is unknown.
        share: Share of the whole call's time, in [0, 1]; None for estimates.
        bound: Resource that limits it: "compute", "memory" or "launch"; None where it is unknown.
        roofline_share: Time at the target's peaks, which are estimated, over the measured time, in [0, 1]; None for
            estimates, and where it is unknown or the layer ran faster than that.
    """

    name: str
    operator: str
    ms: float | None = None
    source: Literal["measured", "estimated"] | None = None
    precision: str | None = None
    kind: str | None = None
    outputs: tuple[tuple[int | str, ...], ...] | None = None
    parameters: int | None = None
    macs: int | None = None
    bytes: int | None = None
    share: float | None = None
    bound: Bound | None = None
    roofline_share: float | None = None

    @property
    def estimated(self) -> bool:
        """Whether the time is a roofline's estimate."""
        return self.source == "estimated"

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold, without what is not known.

        A measured layer with a bound has its ``roofline_share`` in any case, null where it is unknown.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        data = {name: value for name, value in values.items() if value is not None}
        if self.outputs is not None:
            data["outputs"] = [list(shape) for shape in self.outputs]
        if self.source == "measured" and self.bound is not None:
            data["roofline_share"] = self.roofline_share
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read back what :meth:`to_dict` returned; keys of a later version are passed over.

        Raises:
            TypeError: The data is no mapping, or has no name or operator.
        """
        if not isinstance(data, Mapping):
            raise TypeError(f"a layer is a {type(data).__name__} and no mapping")
        names = {field.name for field in fields(cls)}
        read = {name: value for name, value in data.items() if name in names}
        if read.get("outputs") is not None:
            read["outputs"] = tuple(tuple(shape) for shape in read["outputs"])
        return cls(**read)
