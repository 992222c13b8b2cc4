"""The last step before a build: rewrite the graph so that the target's runtime reads it.

It comes after every technique: quantization then decides about whole layers, and puts no Q/DQ between the pieces that
an older runtime needs a layer to be written in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.network.network import Network
    from compress.records.technique_reports import Rewrites
    from compress.techniques.base import Context


def legalize(network: Network, context: Context) -> Network:
    """Return the network as the target's TensorRT release reads it; the same one where nothing has to change.

    Inputs and outputs keep their types, and the rewrites are recorded in the context's reports.

    Args:
        network: Network after all techniques of the recipe.
        context: Context, whose target decides; its reports get an entry ``rewrites`` with the nodes' names by rewrite.
    """
    if context.target.backend != "tensorrt":
        return network
    from compress.lint import fix

    fixed = fix(network.to_onnx(), context.target, keep_interface=True)
    if not fixed.applied:
        return network
    rewrites: Rewrites = {name: list(nodes) for name, nodes in fixed.applied.items()}
    context.reports["rewrites"] = rewrites
    return network.with_onnx(fixed.model)


def rewrites_note(reports: dict[str, object], target: str) -> tuple[str, ...]:
    """Return one line about the rewrites of :func:`legalize` in the shipped build; empty without any."""
    rewrites = reports.get("rewrites")
    if not isinstance(rewrites, dict):
        return ()
    listed = ", ".join(f"{name} ({len(nodes)})" for name, nodes in rewrites.items())
    return (f"The graph was rewritten for what {target} reads: {listed}",)
