"""File formats of trained networks, a module each; files are inspected before anything in them may run."""
