"""The network under compression: loading, lifting, calling, comparing with its original, and writing."""

from compress.core.moved import names_of

#: Until network was a room, it was a module.
__getattr__ = names_of("compress.network", "compress.network.network")
