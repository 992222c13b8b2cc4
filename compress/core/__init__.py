"""Parts that every room needs: words, files, processes, types; they need only Python and numpy."""
