"""Rates of wrong verdicts: of the gate, by running it, and of the statistics behind it, by simulation."""
