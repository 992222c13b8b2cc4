"""Reports of a run, a file a form."""
