"""A lifted graph that can be moved to another device.

What the network makes on its own, as in ``torch.arange(n, device=x.device)``, was traced with the CPU as a constant.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.fx.node import map_aggregate


class LiftedGraph(fx.GraphModule):
    """A graph whose constants of a device follow its weights."""

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = fn(torch.empty(0)).device
        changed = [_moved(node, device) for node in self.graph.nodes]
        if any(changed):
            self.recompile()
        return self


def _moved(node: fx.Node, device: torch.device) -> bool:
    """Set the device that a call names; return whether it named another one."""

    def other(value: Any) -> Any:
        return device if isinstance(value, torch.device) else value

    args, kwargs = map_aggregate(node.args, other), map_aggregate(node.kwargs, other)
    if (args, kwargs) == (node.args, node.kwargs):
        return False
    node.args, node.kwargs = args, kwargs
    return True
