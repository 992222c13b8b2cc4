"""The records of builds, and their published JSON schemas."""
