"""Which builds are tried, in which order, and which of them is chosen."""
