"""Session options as records: each back end declares its own, with types, ranges and defaults.

Recipes, manifests and profiles hold options as JSON does, by name, and so does an artifact. Whoever decides by one of
them reads the record, which :func:`compress.backends.session_options_of` gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Self

from compress.core.options import KEY, Options, fault_of
from compress.errors import RecipeError


@dataclass(frozen=True, kw_only=True)
class SessionOptions(Options):
    """Session options of any back end, as far as other rooms ask for them; a back end's own class declares its own.

    A field that is an :func:`compress.core.options.option` may be set by a recipe. Other fields follow from the graph
    or from a comparison: they stand in JSON only where they differ from their default.

    Attributes:
        precision: Precision that float operators compute in; None where the graph alone says it.
        provider: ONNX Runtime's execution provider; None for other runtimes.
        intra_op_threads: Threads of one operator; 0 leaves the number to the runtime. None where it has no such option.
        spinning: Whether threads spin while they wait; None where the runtime does not say.
        affinity: Processors that the runtime's threads are bound to, by number from 0; empty for none.
        dla_core: Number of the deep learning accelerator that the build is for, from 0; None for none.
    """

    precision: str | None = None
    provider: str | None = None
    intra_op_threads: int | None = None
    spinning: bool | None = None
    affinity: Sequence[int] = ()
    dla_core: int | None = None

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> Self:
        """Read options as JSON and TOML hold them; names that this back end does not know are passed over.

        Raises:
            RecipeError: A value is of another type than its option, or out of range.
        """
        fields_by_name = {field.name: field for field in fields(cls)}
        chosen = {name: value for name, value in options.items() if name in fields_by_name}
        for name, value in chosen.items():
            fault = fault_of(fields_by_name[name], value) if KEY in fields_by_name[name].metadata else None
            if fault is not None:
                raise RecipeError(
                    f"the session option {name} {fault}", repr(value), "correct the recipe's [session]"
                )
        return cls(**chosen)

    def to_dict(self) -> dict[str, Any]:
        """Return the options as JSON holds them, by name."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if KEY in field.metadata or field.default is MISSING or getattr(self, field.name) != field.default
        }
