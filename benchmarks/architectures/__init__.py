"""Many architectures with random weights, each through every command: see :mod:`benchmarks.architectures.__main__`."""
