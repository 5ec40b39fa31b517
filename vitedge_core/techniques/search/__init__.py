"""Methods that search for a shape: widths, depth and bits of every block at once."""
