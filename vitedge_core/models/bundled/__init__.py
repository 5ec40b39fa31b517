"""The small networks this repository trains itself."""
