"""The last step before a build: write the graph so that the target's runtime reads it.

It comes after every technique: quantization then decides about whole layers, and puts no Q/DQ between the pieces that
an older runtime needs a layer to be written in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.network.network import Network
    from compress.techniques.base import Context


def legalize(network: Network, context: Context) -> Network:
    """The network as the target's TensorRT release reads it; the same one where nothing has to change.

    Inputs and outputs stay as they are, and what was rewritten is told in the context's reports.

    Args:
        network: After every technique of the recipe.
        context: Its target decides; its reports get an entry ``rewrites``, rewrite → names of the nodes.
    """
    if context.target.backend != "tensorrt":
        return network
    from compress.lint import fix

    fixed = fix(network.to_onnx(), context.target, keep_interface=True)
    if not fixed.applied:
        return network
    context.reports["rewrites"] = {name: list(nodes) for name, nodes in fixed.applied.items()}
    return network.with_onnx(fixed.model)


def rewrites_note(reports: dict[str, object], target: str) -> tuple[str, ...]:
    """One line about what :func:`legalize` did to the shipped build; none where it did nothing."""
    rewrites = reports.get("rewrites")
    if not isinstance(rewrites, dict):
        return ()
    told = ", ".join(f"{name} ({len(nodes)})" for name, nodes in rewrites.items())
    return (f"The graph was rewritten for what {target} reads: {told}",)
