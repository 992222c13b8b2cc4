"""Measurement of accuracy, latency and memory of builds; estimates of latency where there is no machine."""
