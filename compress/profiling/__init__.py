"""What a build costs: accuracy, latency and memory measured; latency estimated where there is no machine."""
