"""File formats of trained networks, a file each: what is inspected before anything in them is allowed to act."""
