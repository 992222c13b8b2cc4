"""An exported program becomes a graph of modules that trains, prunes and exports again."""
