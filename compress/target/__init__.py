"""Targets: what a network is deployed on, and what that computes in."""
