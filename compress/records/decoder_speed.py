"""Speed of a decoder of text under one set of conditions, as a profile holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from compress.records.latency import Interval, Latency, interval_of, latency_of


@dataclass(frozen=True)
class Bandwidth:
    """The rate at which this machine's processor reads memory, measured.

    Attributes:
        gb_s: Median rate of a pass over memory, in 10⁹ bytes a second.
        interval: Confidence interval of the median, in 10⁹ bytes a second.
        threads: Number of threads that read, 1 or more.
        read_bytes: Bytes that one pass reads.
    """

    gb_s: float
    interval: Interval
    threads: int
    read_bytes: int

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read back what :func:`dataclasses.asdict` returned."""
        return cls(**{**data, "interval": interval_of(data["interval"])})


@dataclass(frozen=True)
class DecoderSpeed:
    """Speed of a decoder under one set of conditions; all of it is measured.

    Attributes:
        context: Number of tokens of the prompt, which are in the cache as the next ones are computed.
        batch: Number of texts that are computed together.
        threads: Threads of one operator; 0 for as many as the runtime chooses.
        first_token: Time from the prompt's tokens to the first token of the answer, of all texts together.
        step: Time of each token after it, of all texts together.
        cache_bytes_per_token: Bytes of keys and values that each token of each text takes in the cache.
        bytes_per_step: Bytes that a step reads: the weights, and the keys and values of all texts.
        peak_memory_mb: Peak resident memory of loading the decoder, the prompt and the steps in a process of its own,
            above the idle runtime, in MiB; None where it was not measured.
        bandwidth: Rate at which the machine reads memory, measured in the same run; None where it was not.
    """

    context: int
    batch: int
    threads: int
    first_token: Latency
    step: Latency
    cache_bytes_per_token: int
    bytes_per_step: int
    peak_memory_mb: float | None = None
    bandwidth: Bandwidth | None = None

    @property
    def prompt_tokens_per_s(self) -> float:
        """Tokens of prompts per second, of all texts together."""
        return 1e3 * self.batch * self.context / self.first_token.p50_ms

    @property
    def tokens_per_s(self) -> float:
        """Tokens of answers per second, of all texts together, without the first ones."""
        return 1e3 * self.batch / self.step.p50_ms

    @property
    def prompt_tokens_per_s_interval(self) -> Interval:
        """Confidence interval of :attr:`prompt_tokens_per_s`, which the time's own gives."""
        return _rates(1e3 * self.batch * self.context, self.first_token.interval)

    @property
    def tokens_per_s_interval(self) -> Interval:
        """Confidence interval of :attr:`tokens_per_s`, which the time's own gives."""
        return _rates(1e3 * self.batch, self.step.interval)

    @property
    def bandwidth_share(self) -> float | None:
        """Bytes that a step reads, over those that the machine reads in its time, from 0; None without a bandwidth.

        A value above 1 says that caches hold some of the bytes.
        """
        if self.bandwidth is None:
            return None
        return self.bytes_per_step / (1e6 * self.step.p50_ms * self.bandwidth.gb_s)

    @property
    def bandwidth_share_interval(self) -> Interval | None:
        """Interval of :attr:`bandwidth_share`, as wide as those of the time and of the bandwidth allow together."""
        if self.bandwidth is None:
            return None
        by_step = _rates(self.bytes_per_step / 1e6, self.step.interval)
        between = self.bandwidth.interval
        return Interval(by_step.low / between.high, by_step.high / between.low, by_step.level)

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that JSON can hold, with the figures that follow from the others."""
        shares = self.bandwidth_share_interval
        return {
            "source": self.step.source,
            **asdict(self),
            "prompt_tokens_per_s": self.prompt_tokens_per_s,
            "prompt_tokens_per_s_interval": asdict(self.prompt_tokens_per_s_interval),
            "tokens_per_s": self.tokens_per_s,
            "tokens_per_s_interval": asdict(self.tokens_per_s_interval),
            "bandwidth_share": self.bandwidth_share,
            "bandwidth_share_interval": None if shares is None else asdict(shares),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read back what :meth:`to_dict` returned; what follows from the other figures is computed anew."""
        bandwidth = data.get("bandwidth")
        names = ("context", "batch", "threads", "cache_bytes_per_token", "bytes_per_step")
        return cls(
            **{name: int(data[name]) for name in names},
            first_token=latency_of(data["first_token"]),
            step=latency_of(data["step"]),
            peak_memory_mb=data.get("peak_memory_mb"),
            bandwidth=None if bandwidth is None else Bandwidth.from_dict(bandwidth),
        )


def _rates(amount: float, times_ms: Interval) -> Interval:
    """Return the interval of an amount over a time."""
    fastest = amount / times_ms.low if times_ms.low > 0 else float("inf")
    return Interval(amount / times_ms.high, fastest, times_ms.level)
