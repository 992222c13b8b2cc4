"""compress: the fastest build of a trained network for a device that keeps its accuracy, with the evidence."""
