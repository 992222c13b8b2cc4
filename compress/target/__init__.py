"""Targets: what a network is deployed on, and what that computes in."""

from compress.core.moved import names_of

#: Until target was a room, it was a module.
__getattr__ = names_of("compress.target", "compress.target.target")
