"""The search: builds to try, their order, and the choice among them."""

from compress.core.moved import names_of

#: Until search was a room, it was a module.
__getattr__ = names_of("compress.search", "compress.search.proposals")
