"""The verbs, as Python calls them: optimize, quantize, prune, distill, choose a student."""
