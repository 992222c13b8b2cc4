"""Channel pruning on the lifted graph: find removable units, score them, and remove some.

    channels = find_channels(graph, example)        # groups of units, found by propagating labels
    scores = magnitude(channels)                    # one score for every unit of every group
    units = choose(channels, scores, ratio=0.3)     # which units go
    smaller = remove(channels, units, batch)        # copy, slice, check against the masked network

For a latency, widths are chosen from what layers take on the target:

    latency = network_latency(channels, model, Bench(host, target))
    units = choose_widths(channels, scores, latency, share=0.5).units

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
from compress.pruning.latency_table import Bench, LatencyTable
from compress.pruning.network_latency import NetworkLatency, network_latency
from compress.pruning.removal import random_batch, remove
from compress.pruning.selection import choose
from compress.pruning.widths import Widths, choose_widths

__all__ = [
    "Bench",
    "Channels",
    "Group",
    "LatencyTable",
    "Member",
    "NetworkLatency",
    "Scores",
    "Units",
    "Widths",
    "batch_norm_scale",
    "choose",
    "choose_widths",
    "find_channels",
    "hessian_diagonal",
    "magnitude",
    "network_latency",
    "random_batch",
    "remove",
    "sampled_loss",
    "taylor",
]
