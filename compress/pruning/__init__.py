"""Channel pruning on the lifted graph: what can be removed, what it is worth, and removing it.

    channels = find_channels(graph, example)        # groups of units, found by propagating labels
    scores = magnitude(channels)                    # one score for every unit of every group
    units = choose(channels, scores, ratio=0.3)     # which units go
    smaller = remove(channels, units, batch)        # copy, slice, check against the masked network

The caller's graph is only read.
"""

from compress.pruning.groups import Channels, Group, Member, Units, find_channels
from compress.pruning.importance import (
    Scores,
    batch_norm_scale,
    hessian_diagonal,
    magnitude,
    sampled_loss,
    taylor,
)
from compress.pruning.removal import random_batch, remove
from compress.pruning.selection import choose

__all__ = [
    "Channels",
    "Group",
    "Member",
    "Scores",
    "Units",
    "batch_norm_scale",
    "choose",
    "find_channels",
    "hessian_diagonal",
    "magnitude",
    "random_batch",
    "remove",
    "sampled_loss",
    "taylor",
]
