"""The bounds that verdicts rest on: pure functions of counts and values.

proportions.wilson                       a share, such as an accuracy
quantiles.quantile_interval              a quantile, such as a p99 latency
quantiles.median_log_ratio_bounds        candidate against baseline, in rounds of interleaved pairs
paired.tango_bounds                      candidate against baseline, right or wrong on the same samples
paired.mcnemar_exact, samples_to_decide  is there a difference at all; how many samples would tell
bootstrap.mean_interval                  a mean of any per-sample metric
bootstrap.paired_mean_difference_bounds  candidate against baseline, any metric on the same samples
change_points.change_points              a series of measurements that moved to another level
"""

from compress.statistics.bootstrap import mean_interval, paired_mean_difference_bounds
from compress.statistics.bounds import Bounds
from compress.statistics.change_points import ChangePoint, change_points
from compress.statistics.paired import mcnemar_exact, samples_to_decide, tango_bounds
from compress.statistics.proportions import wilson
from compress.statistics.quantiles import median_log_ratio_bounds, quantile_interval

__all__ = [
    "Bounds",
    "ChangePoint",
    "change_points",
    "mcnemar_exact",
    "mean_interval",
    "median_log_ratio_bounds",
    "paired_mean_difference_bounds",
    "quantile_interval",
    "samples_to_decide",
    "tango_bounds",
    "wilson",
]
