"""The whole of an artifact measured on a host: accuracy, time, memory, energy."""
