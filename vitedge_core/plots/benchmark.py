"""A benchmark as figures and in words: the same cells and sentences on a page and in a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from vitedge_core.evidence import Quantity
from vitedge_core.experiments.bench_rows import BenchRow
from vitedge_core.experiments.kinds import Spent
from vitedge_core.plots.frame import AFTER, GREY, ORANGE, RED, YELLOW, frame
from vitedge_core.plots.intervals import bars as error_bars
from vitedge_core.plots.intervals import told
from vitedge_core.recipe import Step
from vitedge_core.text.human import faster, human, interval, speed

FLAG = "changes answers"
_WIDE = 30  # characters of a label's line: a telephone has room for a bar beside it
_LINES = 3  # of a recipe in a label
_LOOKS = (  # title, colour and pattern of a bar: told apart without colour, too
    ("faster", AFTER, ""), ("slower", YELLOW, "x"), ("no difference measured", GREY, "."), (FLAG, RED, "/"),
)  # fmt: skip


def speed_bars(rows: Sequence[BenchRow], titles: Mapping[str, str]) -> go.Figure:
    """A bar for each row that has figures: how many times as fast as the uncompressed model in eager float32.

    Args:
        rows: At least one with figures; from top to bottom.
        titles: Of engines and methods by key, of knobs by "method.knob".
    """
    shown = [(label, row) for label, row in zip(labels(rows, titles), rows, strict=True) if row.speed][::-1]
    traces = [_bars(title, colour, pattern, [one for one in shown if _look(one[1]) == title])
              for title, colour, pattern in _LOOKS]  # fmt: skip
    figure = go.Figure([trace for trace in traces if trace is not None], frame(_height(shown), barmode="overlay"))
    figure.add_vline(x=1, line={"color": GREY, "width": 1.5, "dash": "dash"})
    figure.update_xaxes(title="times as fast", rangemode="tozero", automargin=True)
    _categories(figure, [label for label, _ in shown])
    return figure


def agreement_marks(rows: Sequence[BenchRow], titles: Mapping[str, str]) -> go.Figure:
    """A mark for each row whose answers were compared: on which share the engine says what the eager model says."""
    shown = [(label, row) for label, row in zip(labels(rows, titles), rows, strict=True) if row.agreement][::-1]
    traces = []
    for name, flagged, colour, shape in (("agrees", False, AFTER, "circle"), (FLAG, True, RED, "x")):
        some = [(label, row.agreement.same) for label, row in shown if row.agreement and row.flagged == flagged]
        if some:
            values = [value for _, value in some]
            traces.append(go.Scatter(
                x=[value.value for value in values], y=[label for label, _ in some], mode="markers", name=name,
                marker={"color": colour, "symbol": shape, "size": 10}, error_x={**error_bars(values), "color": colour},
                text=[told(value) for value in values], hovertemplate="%{y}<br>%{text}<extra></extra>",
            ))  # fmt: skip
    figure = go.Figure(traces, frame(_height(shown)))
    figure.update_xaxes(title="same answers", tickformat=".0%", automargin=True)
    _categories(figure, [label for label, _ in shown])
    return figure


def labels(rows: Sequence[BenchRow], titles: Mapping[str, str]) -> list[str]:
    """What tells the rows apart: always the engine, recipe and pass only where there are several."""
    recipes, passes = {row.recipe.digest for row in rows}, {row.setting for row in rows}
    models = {row.recipe.model for row in rows}
    found = []
    for row in rows:
        whole = recipe_words(row, titles)
        steps = whole if len(models) > 1 else whole.partition(" → ")[2] or "uncompressed"
        lines = textwrap.wrap(steps, _WIDE, max_lines=_LINES, placeholder="…") if len(recipes) > 1 else []
        lines += [row.setting.words] * (len(passes) > 1)
        found.append("<br>".join([titles.get(row.engine, row.engine), *lines]))
    return [f"{label}{' ' * found[:place].count(label)}" for place, label in enumerate(found)]


def _height(shown: Sequence[tuple[str, BenchRow]]) -> int:
    """Of a figure in pixels, so that no label runs into the next."""
    lines = max((1 + label.count("<br>") for label, _ in shown), default=1)
    return 90 + max(36, 12 + 16 * lines) * len(shown)


def kind_bars(found: Spent, tell: Callable[[float], str]) -> go.Figure:
    """Measured beside the roofline's least, for each kind of operation; `tell` says seconds."""
    kinds = [kind for kind, _ in found.times.seconds][::-1]
    measured, roof = dict(found.times.seconds), dict(found.roof)
    traces = [
        go.Bar(
            y=[kind.value for kind in kinds], x=[1e3 * value.value if value else None for value in values], name=name,
            orientation="h", marker={"color": colour, "pattern": {"shape": pattern}},
            text=[tell(value.value) if value else "" for value in values],
            hovertemplate=f"%{{y}}: %{{text}}<extra>{name}</extra>", textposition="none",
        )
        for name, values, colour, pattern in (
            ("at best, by the roofline", [roof.get(kind) for kind in kinds], ORANGE, "/"),
            ("measured, eager PyTorch", [measured[kind] for kind in kinds], AFTER, ""),
        )
    ]  # fmt: skip
    figure = go.Figure(traces, frame(100 + 40 * len(kinds), barmode="group", bargap=0.25))
    figure.update_layout(legend_traceorder="reversed")
    figure.update_xaxes(title="ms for one image, one thread", automargin=True)
    figure.update_yaxes(automargin=True)
    return figure


def kind_rows(found: Spent) -> list[dict[str, str]]:
    """The same as a table."""
    roof, total = dict(found.roof), found.times.watched.value
    return [
        {"Kind": kind.value, "Measured": told(value), "Share": f"{value.value / total:.1%}",
         "At best": human(roof[kind]) if kind in roof else "moves nothing",
         "Times the roofline": human(Quantity(value.value / roof[kind].value, "ratio", value.evidence, value.source))
         if kind in roof and roof[kind].value else ""}
        for kind, value in found.times.seconds
    ]  # fmt: skip


def _look(row: BenchRow) -> str:
    """Which of the looks a row's bar has."""
    assert row.speed is not None
    if row.flagged:
        return FLAG
    if not row.speed.ratio.excludes(1):
        return "no difference measured"
    return "faster" if row.speed.ratio.value < 1 else "slower"


def _bars(title: str, colour: str, pattern: str, rows: Sequence[tuple[str, BenchRow]]) -> go.Bar | None:
    if not rows:
        return None
    values = [faster(row.speed.ratio) for _, row in rows if row.speed]
    return go.Bar(
        x=[value.value for value in values], y=[label for label, _ in rows], orientation="h", name=title,
        marker={"color": colour, "pattern": {"shape": pattern}}, error_x={**error_bars(values), "color": GREY},
        text=[speed(row.speed.ratio) for _, row in rows if row.speed], textposition="none",
        hovertemplate="%{y}<br>%{text}<extra></extra>", width=0.6,
    )  # fmt: skip


def _categories(figure: Any, names: Sequence[str]) -> None:
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=list(names), automargin=True,
                        tickfont={"size": 11})  # fmt: skip


def row_words(row: BenchRow, titles: Mapping[str, str] | None = None) -> dict[str, str]:
    """One row's speed; of a row without figures the reason. Without titles things are called by their keys."""
    named = {
        "Recipe": recipe_words(row, titles),
        "Engine": (titles or {}).get(row.engine, row.engine),
        "Pass": row.setting.words,
    }
    figures = row.speed
    if figures is None:
        empty = dict.fromkeys(("95 % interval", "p50", "p95", "CPU time", "CPU ratio", "Built in", "File"), "")
        return {**named, "Against eager": row.problem, **empty}
    return {
        **named, "Against eager": speed(figures.ratio),
        "95 % interval": _bounds(figures.ratio), "p50": human(figures.median),
        "p95": human(figures.slow), "CPU time": human(figures.cpu), "CPU ratio": human(figures.cpu_ratio),
        "Built in": human(row.build_seconds) if row.build_seconds else "",
        "File": human(row.bytes) if row.bytes else "",
    }  # fmt: skip


def agreement_words(row: BenchRow, titles: Mapping[str, str] | None = None) -> dict[str, str]:
    """One row's agreement with the eager model of its recipe, and what became of the accuracy."""
    found = row.agreement
    if found is None or row.change is None:
        return {}
    return {
        "Recipe": recipe_words(row, titles), "Engine": (titles or {}).get(row.engine, row.engine),
        "Same answer": told(found.same),
        "Logits' error": told(found.error), "Accuracy": told(found.accuracy),
        "Against its eager model": told(found.difference, signed=True),
        "Against the uncompressed": told(row.change, signed=True), "Flag": FLAG if row.flagged else "",
    }  # fmt: skip


def recipe_words(row: BenchRow, titles: Mapping[str, str] | None = None) -> str:
    """The recipe in short: its model, its methods, and the knobs that were set."""
    known, model = titles or {}, row.recipe.model
    return " → ".join([known.get(model, model), *(_step_words(step, known) for step in row.recipe.active)])


def _step_words(step: Step, titles: Mapping[str, str]) -> str:
    named = [(f"{titles[key]} " if (key := f"{step.technique}.{name}") in titles else f"{name}=") + str(value)
             for name, value in step.params]  # fmt: skip
    return f"{titles.get(step.technique, step.technique)} {', '.join(named)}".strip()


def notes(rows: Sequence[BenchRow], titles: Mapping[str, str] | None = None) -> list[str]:
    """What must be known of the figures, each sentence once; engines by their titles, or else by their keys."""
    found: dict[str, None] = {}
    for row in rows:
        name = (titles or {}).get(row.engine, row.engine)
        facts = f"{'; '.join(row.facts)}." if row.facts else ""
        if facts or row.own_step:
            found[f"{name}: {' '.join(filter(None, (facts, row.own_step)))}"] = None
        if row.flagged:
            found[f"{name} changes more answers than the accuracy is known to: compare its own accuracy."] = None
        if row.warning:
            found[row.warning] = None
    return list(found)


def _bounds(ratio: Quantity) -> str:
    """The interval of a ratio of times, the same way round as `speed` says the ratio."""
    if ratio.is_exact:
        return ""
    quick = ratio.excludes(1) and ratio.value < 1
    return f"{interval(faster(ratio))} as fast" if quick else f"{interval(ratio)} as long"
