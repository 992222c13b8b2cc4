"""One rule for every operator: how the axes of its result follow from the axes of its operands.

A rule for an aten operator is keyed by its overload packet and sees the arguments by their schema's names. A rule
for a layer is keyed by the module's class.
"""

from __future__ import annotations

from typing import Any

import torch
from torch._ops import OpOverload

from compress.pruning.axes import LayerRule, Rule
from compress.pruning.rules.contraction import CONTRACTIONS
from compress.pruning.rules.elementwise import ELEMENTWISE, elementwise
from compress.pruning.rules.layers import LAYERS
from compress.pruning.rules.recurrent import RECURRENT
from compress.pruning.rules.reduction import REDUCTIONS
from compress.pruning.rules.shape import SHAPES
from compress.pruning.rules.spatial import SPATIAL

_RULES: dict[Any, Rule] = {**ELEMENTWISE, **SHAPES, **REDUCTIONS, **CONTRACTIONS, **SPATIAL}

#: By the class of the module.
LAYER_RULES: dict[type, LayerRule] = {**LAYERS, **RECURRENT}


def rule_for(target: OpOverload[Any, Any]) -> Rule | None:
    """Return the rule of an aten operator; every pointwise operator has the same."""
    rule = _RULES.get(target.overloadpacket)
    if rule is None and torch.Tag.pointwise in target.tags:
        return elementwise
    return rule
