"""What is recorded of a build, and the JSON schemas that are published of it."""
