"""Students: smaller networks that learn from a trained one, and how small they may be."""
