"""Settings of int8 quantization in a recipe: operators to quantize, and method to find the ranges."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from compress.errors import RecipeError

#: ``all``: whole chains stay int8, cheap operators included. ``weights-ops``: only Conv, Gemm and MatMul with
#: constant weights, and their outputs stay float wherever the kernel allows it.
SCOPES = ("all", "weights-ops")

METHODS = ("min-max", "moving-average", "percentile", "entropy", "mse")

#: ``nearest``: each weight alone. ``reconstructed``: each layer for the smallest error of its outputs on the
#: calibration samples, which takes seconds a layer.
ROUNDINGS = ("nearest", "reconstructed")


@dataclass(frozen=True)
class Settings:
    """Settings of static int8 quantization.

    Attributes:
        scope: Operators to quantize, one of :data:`SCOPES`.
        method: Method that derives a tensor's range from the values seen, one of :data:`METHODS`.
        percentile: Share of the values inside the range, in percent, in (50, 100]; only for the method ``percentile``.
        equalize: Whether to equalize channels between consecutive layers, where that helps; see
            :mod:`compress.quantization.equalization`.
        smooth: Whether to move outlier channels behind normalisations into weights, where that helps; see
            :mod:`compress.quantization.smoothing`.
        correct_bias: Whether biases correct the mean error of their layer; ``reconstructed`` includes it.
        rounding: Method of rounding weights to integers, one of :data:`ROUNDINGS`.
        exclude_nodes: Names of nodes that stay float, as in the prepared graph.
        exclude_ops: Operator types that stay float ("Gemm").
    """

    scope: str = "all"
    method: str = "mse"
    percentile: float = 99.99
    equalize: bool = True
    smooth: bool = True
    correct_bias: bool = False
    rounding: str = "nearest"
    exclude_nodes: tuple[str, ...] = ()
    exclude_ops: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _one_of("scope", self.scope, SCOPES)
        _one_of("method", self.method, METHODS)
        _one_of("rounding", self.rounding, ROUNDINGS)
        for switch in ("equalize", "smooth", "correct_bias"):
            if not isinstance(getattr(self, switch), bool):
                raise RecipeError(
                    f"{switch} as a switch", repr(getattr(self, switch)), f"write {switch} = true"
                )
        if not _is_number(self.percentile) or not 50 < self.percentile <= 100:
            raise RecipeError(
                "a percentile above 50 and at most 100",
                repr(self.percentile),
                "write percentile = 99.99, say",
            )
        for name in ("exclude_nodes", "exclude_ops"):
            # Recipes are TOML: their arrays arrive as lists.
            object.__setattr__(self, name, _strings(name, getattr(self, name)))

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON and TOML can hold."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }


def _one_of(setting: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise RecipeError(f"a {setting} of quantization", repr(value), f"use one of {', '.join(allowed)}")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _strings(setting: str, value: object) -> tuple[str, ...]:
    items = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    if not all(isinstance(item, str) and item for item in items):
        raise RecipeError(f"{setting} as a list of names", repr(value), f'write {setting} = ["name", …]')
    return tuple(str(item) for item in items)
