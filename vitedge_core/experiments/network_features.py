"""Counts the networks of the published latencies anew and writes `published/network_features.csv` (`make features`)."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vitedge_core.cost.features import NAMES, features
from vitedge_core.errors import VitEdgeError
from vitedge_core.models.published_names import network
from vitedge_core.models.trace import trace
from vitedge_core.published.latencies import NETWORKS, latencies

COLUMNS = ("model", "network", "image", "lacking", "folded_norms", *NAMES)


def counted(model: str) -> dict[str, Any]:
    """The line of the table for a printed name of a network."""
    line: dict[str, Any] = dict.fromkeys(COLUMNS, "") | {"model": model}
    try:
        found = network(model)
        plan = trace(found.name, found.image)
    except VitEdgeError as error:
        return line | {"lacking": str(error)}
    counts = {name: int(value) for name, value in features(plan, folded_norms=found.folded_norms).plain().items()}
    return line | counts | {
        "network": found.name, "image": plan.image[1], "folded_norms": int(found.folded_norms),
    }  # fmt: skip


def write(models: Iterable[str] = (), path: Path = NETWORKS) -> Path:
    """Write the table for these printed names, by default all of the published latencies; minutes."""
    names = sorted(models or {row.model for row in latencies()})
    lines = [counted(name) for name in names]
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(lines)
    return path


if __name__ == "__main__":
    write()
