"""What the verbs print: JSON, aligned tables, baseline beside compressed; progress on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence

from vitedge_core.evidence import Quantity

NAMES = {
    "params": "Parameters",
    "macs": "MACs",
    "weight_bytes": "Weights file",
    "dense_bytes": "The same in float32",
    "theoretical_macs": "MACs if zeros were skipped",
    "theoretical_bytes": "File if rows were sparse",
    "two_of_four_bytes": "File if zeros were 2:4",
    "peak_memory_bytes": "Peak memory",
    "measured_memory_bytes": "Peak memory, measured",
    "latency_seconds": "Latency",
    "accuracy": "Accuracy",
    "pointing_hits": "Points at object",
    "attention_on_object": "Attention on object",
    "attention_kept": "Attention kept",
    "artefact_bytes": "File of the engine",
    "build_seconds": "Building it, once",
    "same_answers": "Same answer as eager",
    "logits_error": "Logits off by",
    "eager_accuracy": "Accuracy, eager",
}


class Progress:
    """One line on standard error: rewritten in a terminal, a new one every few seconds elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._last = time.monotonic()
        self._open = False

    def __call__(self, share: float, sentence: str) -> None:
        """Say how far it is, 0 to 1, and what is being done."""
        now = time.monotonic()
        if now - self._last < (0.1 if self._live else 5.0):
            return
        self._last = now
        line = f"{share:4.0%} {sentence}"
        if self._live:
            print(f"\r{line[:110]:<110}", end="", file=sys.stderr, flush=True)
            self._open = True
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the line empty for what follows."""
        if self._open:
            print(f"\r{'':<110}\r", end="", file=sys.stderr, flush=True)
            self._open = False


progress = Progress()


def print_json(value: object) -> None:
    """One JSON object."""
    print(json.dumps(value, indent=2))


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows in aligned columns, the first one a heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def print_compared(baseline: Mapping[str, Quantity], compressed: Mapping[str, Quantity]) -> None:
    """Baseline beside compressed, for people."""
    from vitedge_core.text.human import change, human, interval

    rows = [("", "Baseline", "Compressed", "Change", "95 % interval", "Evidence")]
    for name, after in compressed.items():
        before = baseline.get(name)  # some figures only a compressed model has
        told = ("", "") if before is None else (human(before), change(before, after))
        rows.append((NAMES.get(name, name), told[0], human(after), told[1], interval(after), after.evidence))
    print_table(rows)


def said(value: float, unit: str) -> str:
    """A part of a total in its unit, as people say it."""
    from vitedge_core.text.human import human

    return human(Quantity.exact(value, unit, "a part of the total"))
