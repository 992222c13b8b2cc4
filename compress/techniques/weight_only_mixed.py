"""Integer weights whose bits and groups differ by matrix: the smallest loss that is possible under a size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from compress.errors import RecipeError
from compress.network.network import DECODER
from compress.onnx_graph.fold import prepare
from compress.onnx_graph.graph import Graph
from compress.onnx_graph.weights import spooled
from compress.pruning.knapsack import cheapest
from compress.quantization.batches import samples_of
from compress.quantization.calibration import no_samples
from compress.quantization.weights import Settings, quantize_weights
from compress.quantization.weights.forms import DESCRIPTION, FLOAT, FLOAT_BITS, SIZES, Form, all_forms
from compress.quantization.weights.sensitivity import MatrixCosts, WeightCosts
from compress.quantization.weights.settings import BITS, GROUP_SIZES
from compress.records.technique_reports import MixedWeightsReport
from compress.techniques.base import Context, Technique, calibration_batches
from compress.techniques.weight_only import check_integer_weights

if TYPE_CHECKING:
    import onnx

    from compress.network.network import Network


#: Texts of a language model, of up to 256 tokens, or samples of another network, that losses are measured on, where
#: nothing else is said.
_TEXTS, _SAMPLES = 1, 64

#: Parts that the bytes to save are counted in.
_PARTS = 20_000


@dataclass(frozen=True)
class WeightOnlyMixed(Technique):
    """Weight-only quantization with a form for each matrix, chosen by a knapsack over measured losses and bytes.

    The loss of each matrix in each form is measured on calibration samples: the divergence from the original's
    probabilities for a language model, the relative squared error of the outputs for any other network. Forms are
    rounded group by group there, on the best grids for the inputs; the algorithm makes the chosen ones better still.

    Attributes:
        average_bits: Bits of a weight on average, scales and zero points included, at most; None where ``max_size``
            limits them. Where both are None, 5.
        max_size: Size of the file in MB (10⁶ bytes), at most; None where ``average_bits`` limits it.
        bits: Bits to choose from: 4, 8 or both, and 32 where matrices may also stay float.
        group_sizes: Group sizes to choose from, of 16, 32, 64, 128 and 256.
        zero_points: Whether forms of 4 bits with zero points are among them.
        algorithm: Algorithm that chooses the integers of the chosen forms; see ``weight_only``. HQQ has 4 bits alone
            and is none of them.
        compute: Precision of the products: ``float32`` or ``int8``; see ``weight_only``.
        tried_on: Number of calibration samples that losses are measured on; None for one text of a language model, of
            at most 256 tokens, or 64 samples of any other network.
        samples: Largest number of calibration samples that the algorithm uses.
        exclude_nodes: Names of nodes that stay float, as in the prepared graph.
    """

    average_bits: float | None = None
    max_size: float | None = None
    bits: tuple[int, ...] = BITS
    group_sizes: tuple[int, ...] = SIZES
    zero_points: bool = True
    algorithm: str = "gptq"
    compute: str = "int8"
    tried_on: int | None = None
    samples: int = 128
    exclude_nodes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.average_bits is not None and self.max_size is not None:
            raise RecipeError("average_bits or max_size", "both", "leave one of them out")
        for name in ("average_bits", "max_size", "tried_on"):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
            if not number and value is not None:
                raise RecipeError(f"'{name}' above 0", repr(value), f"write {name} = 5, say")
        for name, allowed in (("bits", (*BITS, FLOAT_BITS)), ("group_sizes", GROUP_SIZES)):
            object.__setattr__(self, name, _some(name, getattr(self, name), allowed))
        if self.bits == (FLOAT_BITS,):
            raise RecipeError("'bits' with 4 or 8 among them", "32 alone", "write bits = [4, 8, 32]")
        if self.algorithm == "hqq":
            raise RecipeError("an algorithm of 4 and 8 bits", "'hqq'", 'choose algorithm = "gptq"')
        object.__setattr__(self, "exclude_nodes", self._settings.exclude_nodes)

    @property
    def _settings(self) -> Settings:
        return Settings(
            algorithm=self.algorithm,
            compute=self.compute,
            samples=self.samples,
            exclude_nodes=self.exclude_nodes,
        )

    @property
    def _forms(self) -> list[Form]:
        rounded = [bits for bits in self.bits if bits != FLOAT_BITS]
        forms = all_forms(rounded, self.group_sizes, (False, True) if self.zero_points else (True,))
        return forms if len(rounded) == len(self.bits) else [*forms, FLOAT]

    def needs(self) -> tuple[str, ...]:
        """See :meth:`Technique.needs`."""
        return ("calibration samples",)

    def takes_minutes(self) -> bool:
        """See :meth:`Technique.takes_minutes`."""
        return True

    def apply(self, network: Network, context: Context) -> Network:
        """See :meth:`Technique.apply`; the result is in ONNX form, with ONNX Runtime's operators.

        Raises:
            NetworkError: The network is quantized already, or has no matrix that is large enough.
            RecipeError: The target's back end has no such operator, or the limit is below the smallest forms.
            DataError: Activations on the calibration data are not finite.
        """
        check_integer_weights("weight_only_mixed", context.target, network)
        with spooled(network.to_onnx()) as model:
            prepared = prepare(model, store_twice=True)
            costs = self._costs(prepared, network, context)
            chosen = self.chosen([matrix.of(self._forms) for matrix in costs.matrices], costs.other_bytes)
            forms = {matrix.matrix: form for matrix, form in zip(costs.matrices, chosen, strict=True)}
            context.reporter.step("trying the chosen forms together")
            together = costs.measured(forms)
            kept = [
                node for matrix in costs.matrices if forms[matrix.matrix].is_float for node in matrix.nodes
            ]
            settings = replace(self._settings, exclude_nodes=(*self.exclude_nodes, *kept))
            rounded = {name: form.settings(settings) for name, form in forms.items() if not form.is_float}
            context.reporter.step("rounding")
            batches = calibration_batches(network, context)
            quantized, report = quantize_weights(model, batches, settings, rounded)
        context.reports["weight_only"] = report.to_dict()
        context.reports["mixed_weights"] = _report(costs, chosen, together, network)
        return network.with_onnx(quantized)

    def _costs(self, prepared: onnx.ModelProto, network: Network, context: Context) -> WeightCosts:
        batches = calibration_batches(network, context)
        decodes = network.origin.format == DECODER
        count = self.tried_on or (_TEXTS if decodes else _SAMPLES)
        feeds = samples_of(batches, int(count), Graph(prepared))
        if not feeds:
            raise no_samples()
        # What other recipes may choose from is measured too, so that they find it.
        measured = [*all_forms(BITS, {*SIZES, *self.group_sizes}, (False, True)), FLOAT]
        context.reporter.step("trying matrices alone")
        return WeightCosts(
            prepared,
            feeds,
            self._settings,
            measured,
            scores=decodes,
            cache=context.cache,
        )

    def chosen(self, matrices: Sequence[MatrixCosts], other_bytes: int) -> list[Form]:
        """Return a form for each matrix: those with the least sum of losses whose bytes the limit allows.

        Args:
            matrices: Costs of the matrices.
            other_bytes: Bytes of the file that no form changes.

        Raises:
            RecipeError: Even the smallest forms exceed the limit.
        """
        if self.max_size is not None:
            room = self.max_size * 1e6 - other_bytes - DESCRIPTION * len(matrices)
        else:
            room = (
                (self.average_bits or 5.0) * sum(matrix.shape[0] * matrix.shape[1] for matrix in matrices) / 8
            )
        largest = [max(matrix.bytes) for matrix in matrices]
        savings = [
            [most - size for size in matrix.bytes] for matrix, most in zip(matrices, largest, strict=True)
        ]
        options = cheapest(savings, [matrix.losses for matrix in matrices], sum(largest) - room, _PARTS)
        if (
            options is None
        ):  # savings are counted in parts, rounded down: the smallest forms may fit all the same
            options = [_smallest(matrix) for matrix in matrices]
            smallest = sum(matrix.bytes[option] for matrix, option in zip(matrices, options, strict=True))
            if smallest > room * (1 + 1e-9):
                raise RecipeError(*self._least(smallest, matrices, other_bytes))
        return [matrix.forms[option] for matrix, option in zip(matrices, options, strict=True)]

    def _least(
        self, smallest: int, matrices: Sequence[MatrixCosts], other_bytes: int
    ) -> tuple[str, str, str]:
        """Return what an error says of a limit that is too low."""
        if self.max_size is not None:
            least = (smallest + other_bytes + DESCRIPTION * len(matrices)) / 1e6
            return (
                f"max_size of {_rounded_up(least)} MB or more",
                f"{self.max_size:g}",
                "allow more, or remove layers",
            )
        weights = sum(matrix.shape[0] * matrix.shape[1] for matrix in matrices)
        least = 8 * smallest / weights
        return (
            f"average_bits of {_rounded_up(least)} or more",
            f"{self.average_bits or 5.0:g}",
            "allow more bits",
        )


def _smallest(matrix: MatrixCosts) -> int:
    """Return the position of a matrix's smallest form; of several, that of the least loss."""
    return min(range(len(matrix.forms)), key=lambda option: (matrix.bytes[option], matrix.losses[option]))


def _rounded_up(number: float) -> str:
    """Return a number with three digits that is not below it."""
    unit = 10.0 ** (math.floor(math.log10(number)) - 2)
    return f"{math.ceil(number / unit - 1e-9) * unit:.3g}"


def _report(
    costs: WeightCosts, chosen: Sequence[Form], together: float, network: Network
) -> MixedWeightsReport:
    rows: list[dict[str, Any]] = []
    for matrix, form in zip(costs.matrices, chosen, strict=True):
        place = matrix.forms.index(form)
        rows.append(
            {
                "nodes": list(matrix.nodes),
                "shape": list(matrix.shape),
                "form": str(form),
                "bytes": matrix.bytes[place],
                "loss": matrix.losses[place],
                "measured": matrix.tried in (None, form),
            }
        )
    weights = sum(matrix.shape[0] * matrix.shape[1] for matrix in costs.matrices)
    return {
        "loss": "divergence" if network.origin.format == DECODER else "relative squared error",
        "average_bits": 8 * sum(row["bytes"] for row in rows) / weights,
        "sum_of_losses": sum(row["loss"] for row in rows),
        "measured_together": together,
        "matrices": rows,
    }


def _some(name: str, value: object, allowed: Sequence[int]) -> tuple[int, ...]:
    """Return numbers of a recipe as a tuple; its TOML arrays arrive as lists, and one number alone is fine."""
    items = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    if not items or any(isinstance(item, bool) or item not in allowed for item in items):
        listed = ", ".join(map(str, allowed))
        raise RecipeError(f"'{name}' among {listed}", repr(value), f"write {name} = [{listed}], say")
    return tuple(sorted({int(item) for item in items}))
