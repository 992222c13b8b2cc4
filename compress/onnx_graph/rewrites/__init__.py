"""Rewrites that let an older or narrower runtime read a graph; each keeps what it computes and works in place.

Each takes a model with inferred types and returns the names of the nodes it rewrote.
"""
