"""Rows of a benchmark in words: a table's cells and the sentences below it, the same on a page and in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from vitedge_core.evidence import Quantity
from vitedge_core.experiments.bench_rows import BenchRow
from vitedge_core.text.human import human, interval, speed

FLAG = "changes answers"


def row_words(row: BenchRow) -> dict[str, str]:
    """One row's speed; of a row without figures the reason."""
    named = {"Recipe": recipe_words(row), "Engine": row.engine, "Pass": row.setting.words}
    figures = row.speed
    if figures is None:
        empty = dict.fromkeys(("95 % interval", "p50", "p95", "CPU time", "CPU ratio", "Built in", "File"), "")
        return {**named, "Against eager": row.problem, **empty}
    return {
        **named, "Against eager": speed(figures.ratio),
        "95 % interval": "" if figures.ratio.is_exact else _as_fast(figures.ratio), "p50": human(figures.median),
        "p95": human(figures.slow), "CPU time": human(figures.cpu), "CPU ratio": human(figures.cpu_ratio),
        "Built in": human(row.build_seconds) if row.build_seconds else "",
        "File": human(row.bytes) if row.bytes else "",
    }  # fmt: skip


def agreement_words(row: BenchRow) -> dict[str, str]:
    """One row's agreement with the eager model of its recipe, and what became of the accuracy."""
    found = row.agreement
    if found is None or row.change is None:
        return {}
    return {
        "Recipe": recipe_words(row), "Engine": row.engine, "Same answer": _with_interval(found.same),
        "Logits' error": _with_interval(found.error), "Accuracy": _with_interval(found.accuracy),
        "Against its eager model": _with_interval(found.difference, signed=True),
        "Against the uncompressed": _with_interval(row.change, signed=True), "Flag": FLAG if row.flagged else "",
    }  # fmt: skip


def recipe_words(row: BenchRow) -> str:
    """The recipe in short: its model, its methods, and the knobs that were set."""
    steps = [
        step.technique + (f" {', '.join(f'{name}={value}' for name, value in step.params)}" if step.params else "")
        for step in row.recipe.active
    ]
    return " → ".join([row.recipe.model, *steps])


def notes(rows: Sequence[BenchRow]) -> list[str]:
    """What must be known of the figures, each sentence once."""
    found: dict[str, None] = {}
    for row in rows:
        facts = "; ".join(filter(None, (*row.facts, row.own_step)))
        if facts:
            found[f"{row.engine}: {facts}."] = None
        if row.flagged:
            found[f"{row.engine} changes more answers than the accuracy is known to: compare its own accuracy."] = None
        if row.warning:
            found[row.warning] = None
    return list(found)


def _with_interval(value: Quantity, *, signed: bool = False) -> str:
    bounds = interval(value, signed=signed)
    return f"{human(value, signed=signed)} ({bounds})" if bounds else human(value, signed=signed)


def _as_fast(ratio: Quantity) -> str:
    """The interval of a ratio of times, as a share of the baseline's time."""
    return f"{interval(ratio)} of its time"
