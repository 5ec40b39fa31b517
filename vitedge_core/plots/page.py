"""A figure as a page of its own that needs no network: it holds Plotly, the figure, and what it shows in words."""

from __future__ import annotations

from html import escape

import plotly.graph_objects as go


def page(figure: go.Figure, title: str, note: str) -> str:
    """The page as HTML.

    Args:
        figure: To be drawn on white.
        title: A line above it.
        note: What it shows and what it rests on.
    """
    drawn = go.Figure(figure).update_layout(template="plotly_white", paper_bgcolor="white", plot_bgcolor="white")
    body = drawn.to_html(full_html=False, include_plotlyjs=True, config={"displaylogo": False, "responsive": True})
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        "<style>body{font-family:sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;background:white;"
        f"color:#222}}</style></head><body><h1>{escape(title)}</h1><p>{escape(note)}</p>{body}</body></html>"
    )
