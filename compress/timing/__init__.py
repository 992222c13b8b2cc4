"""Timing of builds: each runs in a process of its own, and they take turns."""
