"""Many architectures with random weights, each through every command: see its ``__main__``."""
