"""What the machine is that runs this: its processor, memory, GPUs and operating system."""
