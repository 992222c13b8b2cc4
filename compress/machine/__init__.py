"""This machine: its processor, memory, GPUs and operating system."""
