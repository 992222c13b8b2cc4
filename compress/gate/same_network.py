"""Whether both builds of a gate take and give the same: only builds of one network can be compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from compress.core.decoder_texts import MADE_OF_KEY, SPELLING_KEY
from compress.errors import BundleError

if TYPE_CHECKING:
    from compress.backends.base import Session
    from compress.core.tensor_spec import TensorSpec
    from compress.records.profile import Profile


class Interface(NamedTuple):
    """The inputs and outputs of a recorded network."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @classmethod
    def of(cls, profile: Profile) -> Interface:
        """Return the interface that a profile recorded."""
        from compress.core.tensor_spec import TensorSpec

        return cls(*(tuple(map(TensorSpec.from_dict, specs)) for specs in (profile.inputs, profile.outputs)))


def check_same_network(candidate: Session | Interface, baseline: Session | Interface) -> None:
    """Check that both have the same inputs and outputs.

    Raises:
        BundleError: Inputs, outputs or the number of classes differ; or the baseline is a language model with other
            tokens than the candidate's.
    """
    ours, theirs = (getattr(side, "metadata", {}) for side in (candidate, baseline))
    vocabulary = theirs.get(SPELLING_KEY)
    if vocabulary is not None and vocabulary != ours.get(SPELLING_KEY):
        raise BundleError(
            "a baseline with the whole vocabulary, or with the candidate's",
            "one with a trimmed vocabulary of its own",
            "compare with the build that it was made beside",
        )
    if MADE_OF_KEY in ours and _is_part(candidate.inputs, baseline.inputs):
        return
    if [spec.to_dict() for spec in candidate.inputs] != [spec.to_dict() for spec in baseline.inputs]:
        _refuse("inputs", candidate.inputs, baseline.inputs)
    # Exporters name outputs and inner dynamic axes as they like; types and sizes are the network's.
    if [_form(spec) for spec in candidate.outputs] != [_form(spec) for spec in baseline.outputs]:
        _refuse("outputs", candidate.outputs, baseline.outputs)


def _is_part(smaller: Sequence[TensorSpec], larger: Sequence[TensorSpec]) -> bool:
    """Whether inputs are some of other ones, each no larger: of a language model of which layers or heads went.

    Its keys and values may have another precision.
    """
    theirs = {spec.name: spec for spec in larger}
    return all(
        spec.name in theirs
        and (spec.dtype == theirs[spec.name].dtype or spec.name.startswith("past_key_values."))
        and len(spec.shape) == len(theirs[spec.name].shape)
        and all(
            not isinstance(size, int) or not isinstance(other, int) or size <= other
            for size, other in zip(spec.shape, theirs[spec.name].shape, strict=True)
        )
        for spec in smaller
    )


def _form(spec: TensorSpec) -> tuple[str, list[int | None]]:
    return spec.dtype, [size if isinstance(size, int) else None for size in spec.shape]


def _refuse(what: str, wanted_specs: Sequence[TensorSpec], found_specs: Sequence[TensorSpec]) -> None:
    raise BundleError(
        f"a baseline with {what} {'; '.join(map(str, wanted_specs))}",
        "; ".join(map(str, found_specs)),
        "compare builds of the same network",
    )
