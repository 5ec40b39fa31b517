"""Figures, one file per subject: data in, plotly figure out."""
