"""Stopwatches and accuracy."""
