"""Baselines: where networks come from, and their plans."""
