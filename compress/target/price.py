"""Prices of a target: of an hour, of the energy, or of both."""

from __future__ import annotations

from dataclasses import dataclass

#: Milliseconds of an hour over a million inferences: so many of each inference are an hour together.
_MS_PER_HOUR_OF_A_MILLION = 3.6
#: Millijoules of a kilowatt-hour over a million inferences.
_MJ_PER_KWH_OF_A_MILLION = 3600.0


@dataclass(frozen=True)
class Price:
    """Prices of a target, as its owner gives them.

    Attributes:
        currency: Currency of both prices, such as ``USD``.
        per_hour: Price of an hour of the machine; None where it has none.
        per_kwh: Price of a kilowatt-hour of the energy that calls take; None where it is not paid apart.
    """

    currency: str
    per_hour: float | None = None
    per_kwh: float | None = None

    def of_a_million(self, ms: float, mj: float | None) -> float | None:
        """Return the money for a million inferences, in the currency.

        Args:
            ms: Milliseconds that each inference takes.
            mj: Millijoules that each inference takes; None where it was not measured.

        Returns:
            The money; None where energy has a price and was not measured.
        """
        if self.per_kwh is None:
            return (self.per_hour or 0.0) * ms / _MS_PER_HOUR_OF_A_MILLION
        if mj is None:
            return None
        energy = self.per_kwh * mj / _MJ_PER_KWH_OF_A_MILLION
        return (self.per_hour or 0.0) * ms / _MS_PER_HOUR_OF_A_MILLION + energy
