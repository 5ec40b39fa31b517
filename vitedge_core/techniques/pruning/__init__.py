"""Methods that remove weights, heads, neurons or blocks."""
