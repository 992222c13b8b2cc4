"""Bundles: directories with a build, its measurements, and programs that run it."""

from compress.core.moved import names_of

#: Until bundle was a room, it was a module.
__getattr__ = names_of("compress.bundle", "compress.bundle.bundle")
