"""How fast builds are: each runs in a process of its own, and they take turns."""
