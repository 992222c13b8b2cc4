"""Lifting of an exported program to a graph of modules that trains, prunes and exports again."""
