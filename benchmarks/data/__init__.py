"""Data that networks learn from, figures that estimates are held against, and the programs that make both."""
