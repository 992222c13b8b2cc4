"""Targets: the devices that networks are deployed on, and their arithmetic."""

from compress.core.moved import names_of

#: Until target was a room, it was a module.
__getattr__ = names_of("compress.target", "compress.target.target")
