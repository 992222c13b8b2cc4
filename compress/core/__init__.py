"""What every room needs: words, files, processes, types; needs Python and numpy alone."""
