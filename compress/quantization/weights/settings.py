"""Settings of weight-only quantization in a recipe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from compress.errors import RecipeError

#: ``rtn`` rounds to nearest between a group's extremes; ``search`` does so on the scale and zero point of several that
#: lose least, at 4 bits; ``hqq`` fits scales and zero points to the weights alone; ``gptq`` and ``awq`` look at what
#: the layers are given on calibration data; ``onnxruntime`` is its own rounding.
ALGORITHMS = ("rtn", "search", "gptq", "awq", "hqq", "onnxruntime")

#: Algorithms that need calibration data.
DATA_DRIVEN = ("gptq", "awq")

BITS = (4, 8)
GROUP_SIZES = (16, 32, 64, 128, 256)
COMPUTE = ("float32", "int8")


@dataclass(frozen=True)
class Settings:
    """Settings of weight-only quantization.

    Attributes:
        algorithm: Algorithm that chooses the integers, one of :data:`ALGORITHMS`.
        bits: Bits of a weight, one of :data:`BITS`. HQQ has 4 alone: its zero points are no integers, and ONNX Runtime
            reads such ones at 4 bits only.
        group_size: Number of weights along the layer's inputs that share a scale, one of :data:`GROUP_SIZES`.
        symmetric: Whether to leave out the zero points; HQQ always has them.
        compute: Precision of the products: ``float32``, or ``int8``, which also rounds inputs to int8, group by group,
            where the runtime has kernels for it; it is faster and less exact. HQQ's zero points rule the kernels out.
        tied_bits: Bits of a matrix that is both looked up in and multiplied by, one of :data:`BITS`: the embedding that
            a language model's head shares. It is rounded without data, as by ``search`` but for ``rtn`` and
            ``onnxruntime``.
        samples: Largest number of calibration samples to use.
        exclude_nodes: Names of nodes that stay float, as in the prepared graph.
    """

    algorithm: str = "gptq"
    bits: int = 4
    group_size: int = 32
    symmetric: bool = False
    compute: str = "float32"
    tied_bits: int = 8
    samples: int = 128
    exclude_nodes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, allowed in (
            ("algorithm", ALGORITHMS),
            ("bits", BITS),
            ("group_size", GROUP_SIZES),
            ("symmetric", (False, True)),
            ("compute", COMPUTE),
            ("tied_bits", BITS),
        ):
            value = getattr(self, name)
            if not any(
                value is allowed_value or (value == allowed_value and type(value) is type(allowed_value))
                for allowed_value in allowed
            ):
                raise RecipeError(
                    f"'{name}' of weight_only as one of {', '.join(_toml(allowed_value) for allowed_value in allowed)}",
                    repr(value),
                    "choose one of these",
                )
        if isinstance(self.samples, bool) or not isinstance(self.samples, int) or self.samples < 1:
            raise RecipeError("'samples' of 1 or more", repr(self.samples), "write samples = 128, say")
        if self.algorithm == "hqq" and (self.bits != 4 or self.symmetric):
            problem = "symmetric = true" if self.symmetric else f"bits = {self.bits}"
            raise RecipeError(
                "4 bits with zero points for HQQ", problem, 'choose algorithm = "gptq" for these'
            )
        object.__setattr__(self, "exclude_nodes", _names(self.exclude_nodes))

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON and TOML can hold."""
        return asdict(self) | {"exclude_nodes": list(self.exclude_nodes)}


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _names(value: object) -> tuple[str, ...]:
    """Return names as a tuple; a recipe's TOML arrays arrive as lists."""
    items = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
    if not all(isinstance(item, str) and item for item in items):
        raise RecipeError(
            "'exclude_nodes' as a list of names", repr(value), 'write exclude_nodes = ["name", …]'
        )
    return tuple(str(item) for item in items)
