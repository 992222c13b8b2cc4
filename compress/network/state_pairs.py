"""Pairs of a state and the output that is its next value: checked, and guessed where none are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher

from compress.core.suggestions import did_you_mean
from compress.core.tensor_spec import TensorSpec
from compress.errors import UsageError


def check_pairs(
    pairs: Mapping[str, str], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> None:
    """Check that states are inputs whose next values are matching outputs.

    Args:
        pairs: The output that is the next value of each input that is a state, by the input's name.
        inputs: Inputs of the network.
        outputs: Outputs of the network.

    Raises:
        UsageError: A name does not exist, or two do not fit each other.
    """
    inputs_by_name, outputs_by_name = (
        {spec.name: spec for spec in inputs},
        {spec.name: spec for spec in outputs},
    )
    for state, output in pairs.items():
        for name, specs, what in ((state, inputs_by_name, "input"), (output, outputs_by_name, "output")):
            if name not in specs:
                todo = did_you_mean(name, specs) or f"name one of: {', '.join(specs)}"
                raise UsageError(f"the name of an {what}, for --state INPUT=OUTPUT", f"'{name}'", todo)
        if outputs_by_name[output].shape and not _fit(inputs_by_name[state], outputs_by_name[output]):
            raise UsageError(
                f"a next value like the state {inputs_by_name[state]}",
                str(outputs_by_name[output]),
                "name the output that is fed back: --state INPUT=OUTPUT",
            )
    outputs_named = list(pairs.values())
    twice = next((name for name in outputs_named if outputs_named.count(name) > 1), None)
    if twice is not None:
        states = ", ".join(state for state, output in pairs.items() if output == twice)
        raise UsageError("an output of its own for each state", f"'{twice}' for {states}", "correct --state")
    if len(pairs) == len(outputs):
        raise UsageError("an output that is no state", ", ".join(outputs_by_name), "leave one of --state out")


def likely_pairs(missing: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> dict[str, str]:
    """Return outputs of the same type and shape that may be the next value of inputs without data.

    Args:
        missing: Inputs that have no data.
        outputs: Outputs of the network.

    Returns:
        The output with the most similar name for each input, no output twice; inputs without one are left out.
    """
    likely: dict[str, str] = {}
    for spec in missing:
        fitting = [
            output.name for output in outputs if _fit(spec, output) and output.name not in likely.values()
        ]
        if fitting:
            likely[spec.name] = max(fitting, key=lambda name: SequenceMatcher(None, spec.name, name).ratio())
    return likely


def _fit(state: TensorSpec, following: TensorSpec) -> bool:
    return (
        state.dtype == following.dtype
        and len(state.shape) == len(following.shape)
        and all(
            one == other or isinstance(one, str) or isinstance(other, str)
            for one, other in zip(state.shape, following.shape, strict=True)
        )
    )
