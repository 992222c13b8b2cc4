"""What is shipped: a directory with the build, its measurements, and programs that run it."""
