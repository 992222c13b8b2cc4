"""The network under compression: how it is loaded, lifted, called, held against its original, and written."""
