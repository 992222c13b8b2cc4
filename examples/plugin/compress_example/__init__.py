"""One of each thing that a distribution can add to compress, a file each."""
