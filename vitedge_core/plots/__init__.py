"""Figures, one file per subject: data in, plotly figure out."""

# Plotly asks whether a value is a pandas series as soon as anybody has begun to import pandas, and fails where another
# thread (a measurement) is still half through. Imported here, it is whole before the first figure.
import pandas as pd  # noqa: F401
