"""Students and their teacher as sessions, so that the same metric judges them and builds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from compress.backends.base import Session
from compress.network.network import Network


class ModuleSession(Session):
    """Module as a session, with the network's inputs and outputs."""

    def __init__(self, module: nn.Module, network: Network) -> None:
        self.inputs, self.outputs = network.inputs, network.outputs
        self._module = module.eval()

    def run(self, feeds: Mapping[str, np.ndarray[Any, Any]]) -> list[np.ndarray[Any, Any]]:
        """See :meth:`Session.run`."""
        tensors = [torch.from_numpy(np.asarray(feeds[spec.name], order="C")) for spec in self.inputs]
        with torch.no_grad():
            result = self._module(*tensors)
        outputs = result if isinstance(result, list | tuple) else (result,)
        return [output.numpy() for output in outputs]

    def close(self) -> None:
        """Do nothing: no resources are held."""
