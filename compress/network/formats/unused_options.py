"""Options that a network's file has no use for are refused: one that is ignored would be believed."""

from __future__ import annotations

from collections.abc import Mapping

from compress.errors import NetworkError


def refuse_unused(
    found: str,
    *,
    factory: str | None = None,
    weights: str | None = None,
    batch_axis: Mapping[str, int] | None = None,
) -> None:
    """Refuse the first of these options that was given.

    Args:
        found: The file and what it is, for the message: "model.onnx, an ONNX file".
        factory: Callable that makes a module, which only a state dict needs.
        weights: Set of weights, of which only a checkpoint holds several.
        batch_axis: Axis that counts samples, which only a network of torch leaves open.

    Raises:
        NetworkError: One of them is not None.
    """
    for flag, value, wanted in (
        ("--factory", factory, "a state dict"),
        ("--weights", weights, "a checkpoint with several sets of weights"),
        ("--batch-axis", batch_axis, "a .pt2, TorchScript or checkpoint file"),
    ):
        if value is not None:
            raise NetworkError(f"{wanted}, for {flag}", found, f"leave {flag} out")
