"""Edits to real models, in the words in which plans are edited."""
