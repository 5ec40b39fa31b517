"""Latencies of many networks on many devices at once: a table of rows, or one recipe everywhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from vitedge_core.cost.edge_latency import EdgeLatencies, OutOfDomain, Prediction, edge_latencies
from vitedge_core.cost.edge_match import device_named, matched
from vitedge_core.cost.edge_model import Point
from vitedge_core.cost.edge_rows import counted
from vitedge_core.cost.edge_target import Target
from vitedge_core.cost.features import Features, features
from vitedge_core.errors import VitEdgeError, unknown
from vitedge_core.plan import Plan
from vitedge_core.published.latencies import latency_networks

NEEDED = ("device", "runtime", "precision", "model")
MAX_BYTES = 50_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """A row of a table as it was written. problem: the sentence that says why it cannot be read, or empty."""

    device: str
    runtime: str
    precision: str
    model: str
    batch: int
    problem: str = ""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "device": self.device, "runtime": self.runtime, "precision": self.precision, "model": self.model,
            "batch": self.batch,
        }  # fmt: skip


def read_rows(path: Path) -> list[Asked]:
    """The rows of a CSV file with the columns device, runtime, precision, model and, where it is not 1, batch.

    Other columns are ignored. UTF-8, UTF-16 and Latin-1 are told apart; commas, semicolons and tabs, too.

    Raises:
        VitEdgeError: There is no such file, it is no table, or it lacks a column or rows.
    """
    if not path.is_file():
        raise VitEdgeError(f"There is no file {path}.")
    if path.stat().st_size > MAX_BYTES:
        raise VitEdgeError(f"{path.name} is larger than {MAX_BYTES // 1_000_000} MB; split it.")
    text = _decoded(path.read_bytes())
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        table = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
        columns = {(name or "").strip().lower(): name for name in table.fieldnames or ()}
        rows = [{key: (row.get(name) or "").strip() for key, name in columns.items()} for row in table]
    except csv.Error as error:
        raise VitEdgeError(f"{path.name} is no CSV file: {error}.") from error
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise VitEdgeError(f"{path.name} lacks the column {missing[0]!r}; needed are {', '.join(NEEDED)}.")
    asked = [_asked(row) for row in rows if any(row.get(name) for name in NEEDED)]
    if not asked:
        raise VitEdgeError(f"{path.name} has a heading but no rows.")
    return asked


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    if data[:200].count(0) > len(data[:200]) // 4:
        return data.decode("utf-16-be" if data[:1] == b"\0" else "utf-16-le", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _asked(row: dict[str, str]) -> Asked:
    text = row.get("batch") or "1"
    number = text.removesuffix(".0")  # as spreadsheets write whole numbers
    sound = number.isascii() and number.isdigit() and int(number[:9]) > 0 and len(number) < 10
    problem = "" if sound else f"{text[:40]!r} is no number of images."
    return Asked(
        row["device"], row["runtime"], row["precision"], row["model"], int(number) if sound else 1, problem
    )  # fmt: skip


def predict_rows(asked: Sequence[Asked], latencies: EdgeLatencies | None = None) -> list[dict[str, Any]]:
    """A prediction for every row whose network can be built, else the sentence that says why there is none."""
    latencies = latencies or edge_latencies()
    points: dict[int, Point] = {}
    problems: dict[int, str] = {}
    for number, row in enumerate(asked):
        if row.problem:
            problems[number] = row.problem
            continue
        try:
            target = matched(row.device, row.runtime, row.precision, latencies.targets)
            points[number] = Point(target, features_of(row.model), row.batch)
        except VitEdgeError as error:
            problems[number] = str(error)
    answers = dict(zip(points, latencies.predict_points(list(points.values())), strict=True))
    return [
        row.plain() | ({"out_of_domain": problems[number]} if number in problems else _plain(answers[number]))
        for number, row in enumerate(asked)
    ]


@lru_cache(maxsize=4096)
def features_of(model: str) -> Features:
    """The features of a network by any name that is in print.

    Raises:
        VitEdgeError: timm has no such network, or it cannot be built for that size.
    """
    known = latency_networks().get(model)
    if known is not None and not known.lacking:
        return counted(known)
    from vitedge_core.models.published_names import network
    from vitedge_core.models.trace import trace

    found = network(model)
    return features(trace(found.name, found.image), folded_norms=found.folded_norms)


def predict_recipe(
    plan: Plan, devices: Iterable[str] = (), batch: int = 1, latencies: EdgeLatencies | None = None
) -> list[dict[str, Any]]:
    """A recipe on every target, or on those of some devices, with all that is known of each prediction.

    Raises:
        VitEdgeError: Nobody published a latency on a device; the sentence has the nearest names.
    """
    latencies = latencies or edge_latencies()
    answers = latencies.predict_all(plan, chosen(tuple(devices), latencies), batch)
    return [
        {**_names(answer.target), "model": plan.model, "batch": batch} | _plain(answer) | _details(answer)
        for answer in answers
    ]


def chosen(devices: Sequence[str], latencies: EdgeLatencies) -> tuple[Target, ...]:
    """The targets of these devices, by any name people give them; all targets where none is named."""
    known = {target.device for target in latencies.targets}
    names = [device_named(name, latencies.targets) for name in devices]
    for asked, name in zip(devices, names, strict=True):
        if name not in known:
            raise unknown("device with published latencies", asked, known)
    return tuple(target for target in latencies.targets if not names or target.device in names)


def _names(target: Target) -> dict[str, Any]:
    return {"device": target.device, "runtime": target.runtime, "precision": target.precision}


def _plain(answer: Prediction | OutOfDomain) -> dict[str, Any]:
    if isinstance(answer, OutOfDomain):
        return {"out_of_domain": answer.reason}
    latency = answer.latency
    ends = (latency.value, latency.low or 0.0, latency.high or 0.0)
    return {
        name: float(f"{1e3 * end:.4g}") for name, end in zip(("latency_ms", "low_ms", "high_ms"), ends, strict=True)
    }


def _details(answer: Prediction | OutOfDomain) -> dict[str, Any]:
    if isinstance(answer, OutOfDomain):
        return {}
    near = answer.nearest
    return {
        "bound": answer.bound, "source": answer.latency.source, "flags": list(answer.flags),
        "nearest": near and {
            **_names(near.example.target), "model": near.example.model, "batch": near.example.batch,
            "published_ms": near.example.seconds * 1e3, "predicted_ms": float(f"{1e3 * near.predicted.value:.4g}"),
            "source": near.example.source,
        },
    }  # fmt: skip
