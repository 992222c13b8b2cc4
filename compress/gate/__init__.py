"""The gate: does a candidate regress against a baseline? Pass, fail, or inconclusive when the data cannot tell.

Every check is decided by bounds and never by a point estimate, which waves through half of all true losses that
equal the margin::

    policy      which checks are made, and their margins
    subject     what is compared: a bundle, an ONNX file, or a recorded profile
    run         the checks, one after the other
    origin      whether both come from the same file of a network
    outcomes    of both on the same samples
    accuracy    right or wrong on the same samples; churn
    slices      the same for every class or group, errors shared among them
    calibration whether confidences still mean what they say
    corruptions accuracy under noise, blur and low contrast
    latency     interleaved pairs in one process, in rounds; p99; against a recorded profile
    cost        size, peak memory, energy, fusion coverage
    verdict     what a check says, and what they say together
"""

from compress.gate.accuracy import judge_churn, judge_drop
from compress.gate.latency import judge_latency, judge_p99
from compress.gate.policy import GatePolicy, load_policy
from compress.gate.run import gate
from compress.gate.slices import judge_slices
from compress.gate.subject import Subject, load_subject
from compress.gate.verdict import Check, Verdict, overall

__all__ = [
    "Check",
    "GatePolicy",
    "Subject",
    "Verdict",
    "gate",
    "judge_churn",
    "judge_drop",
    "judge_latency",
    "judge_p99",
    "judge_slices",
    "load_policy",
    "load_subject",
    "overall",
]
