"""The network under compression: how it is loaded, lifted, called, held against its original, and written."""

from compress.core.moved import names_of

#: Until network was a room, it was a module.
__getattr__ = names_of("compress.network", "compress.network.network")
