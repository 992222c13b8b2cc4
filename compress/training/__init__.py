"""Training: one loop with which a network regains accuracy after it was made smaller or coarser."""
