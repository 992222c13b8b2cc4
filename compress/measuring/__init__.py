"""Measurement of an artifact on a host: accuracy, time, memory, energy."""
