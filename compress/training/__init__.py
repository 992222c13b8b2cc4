"""Training: one loop for whatever a network has to relearn after it was made smaller or coarser."""
