"""Published results of compressed and compact networks: over 1,100 facts from papers and repositories, with sources.

MACs stand in print in several conventions that differ by up to a seventh for the same network; each row says which one
its figure follows and what tells so. Figures of different conventions, or on different data sets, are never compared.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

from vitedge_core.evidence import Evidence, Quantity

_FILES = ("compact", "distillation", "pruning", "quantization")
FAMILIES = ("uncompressed", "compact", "pruning", "tokens", "quantisation", "distillation", "search")
IMAGENET = "ImageNet-1k"
TOP1 = "top-1"
METRICS = (TOP1, "mIoU", "5-way accuracy")


class MacsKind(StrEnum):
    """What a printed number of MACs counts."""

    WITH = "with attention"  # the two products inside attention too; a network without attention is here as well
    WITHOUT = "without attention"  # they are left out, up to 14 % of a small network
    SPARSE = "zeros left out"  # as if zeros cost nothing, and parameters that are zero were none
    UNSTATED = "not stated"  # neither the source nor the value tells


@dataclass(frozen=True, slots=True)
class Result:
    """One printed result. value, baseline: shares of 1, None where only a cost or a difference was printed.

    family: one of `FAMILIES`. method, model: as people call them. setting: how it was done. params, macs: counts, None
    where nobody printed or counted them. macs_kind: None where the row has neither. told_by: what tells the kind.
    bits_w, bits_a: of weights and activations. metric: one of `METRICS`. checked: whether the figure was read in its
    source; otherwise it was recalled or taken from somebody's notes.
    """

    family: str
    method: str
    model: str
    dataset: str
    setting: str
    params: int | None
    macs: int | None
    macs_kind: MacsKind | None
    told_by: str
    bits_w: int | None
    bits_a: int | None
    metric: str
    value: float | None
    baseline: float | None
    source: str
    checked: bool

    @property
    def sparse(self) -> bool:
        """Whether its counts leave zeros out, as no dense file or engine does."""
        return self.macs_kind is MacsKind.SPARSE

    @property
    def weight_bytes(self) -> float | None:
        """What its weights would take at their bits: arithmetic on two printed figures, nobody's measurement."""
        if self.params is None or self.bits_w is None:
            return None
        return self.params * self.bits_w / 8

    def quantity(self, axis: str) -> Quantity | None:
        """One of its figures, named as its field, "weight_bytes" or "bits_w" too; None where it is not known."""
        number = getattr(self, axis)
        if number is None:
            return None
        computed = axis == "weight_bytes"
        told = f"{self.source}; parameters times bits" if computed else self.source
        return Quantity(number, _UNITS[axis], Evidence.PREDICTED if computed else Evidence.PUBLISHED, told)


_UNITS = {
    "value": "share",
    "baseline": "share",
    "macs": "MAC",
    "params": "parameter",
    "weight_bytes": "byte",
    "bits_w": "bits",
}


@cache
def results() -> tuple[Result, ...]:
    """Every row of the tables."""
    return tuple(_result(row) for name in _FILES for row in _rows(name))


def comparable(dataset: str, axis: str, kind: MacsKind, *, metric: str = TOP1) -> tuple[Result, ...]:
    """The results that may stand on one chart: one data set, one metric, one way to count.

    Args:
        dataset: As the rows name it.
        axis: The cost they stand over: "macs", "params", "weight_bytes" or "bits_w".
        kind: How the MACs are counted. Other costs care only whether zeros are left out.
        metric: One of `METRICS`.
    """
    return tuple(
        row for row in results()
        if row.dataset == dataset and row.metric == metric and row.value is not None
        and getattr(row, axis) is not None
        and (row.macs_kind is kind if axis == "macs" else row.sparse == (kind is MacsKind.SPARSE))
    )  # fmt: skip


def datasets(rows: Iterable[Result]) -> tuple[str, ...]:
    """The data sets of these rows that have a top-1, the one with most rows first."""
    found: dict[str, int] = {}
    for row in rows:
        if row.dataset and row.metric == TOP1:
            found[row.dataset] = found.get(row.dataset, 0) + 1
    return tuple(sorted(found, key=lambda name: -found[name]))


def _rows(name: str) -> Iterable[dict[str, str]]:
    with open(Path(__file__).parent / f"results_{name}.csv", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _result(row: dict[str, str]) -> Result:
    return Result(
        row["family"], row["method"], row["model"], row["dataset"], row["setting"],
        _whole(row["params"]), _whole(row["macs"]), MacsKind(row["macs_kind"]) if row["macs_kind"] else None,
        row["told_by"], _whole(row["bits_w"]), _whole(row["bits_a"]), row["metric"],
        _share(row["value_percent"]), _share(row["baseline_percent"]), row["source"], row["checked"] == "yes",
    )  # fmt: skip


def _whole(text: str) -> int | None:
    return int(text) if text else None


def _share(percent: str) -> float | None:
    return round(float(percent) / 100, 8) if percent else None
