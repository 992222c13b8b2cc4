"""Students: smaller networks that learn from a trained one, and the choice of their width."""
