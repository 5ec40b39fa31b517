"""Published latencies of networks on edge devices: 1,228 rows with their sources, and what each network is made of.

`device_latency.csv` holds what was printed, `device_map.csv` joins its devices to the data sheets in `devices.csv` and
says which of them share a chip, `network_features.csv` (written by `make features`) says what timm network a printed
name stands for and what a trace counted on it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
NETWORKS = _FOLDER / "network_features.csv"
_APART = {
    "per-op sum": "it is a sum of timed operators, not an end-to-end time",
    "figure-read": "it is read off a figure",
    "device unspecified": "nobody says on which device it was timed",
    "not certain": "nobody is certain which network was timed",
}


@dataclass(frozen=True, slots=True)
class Published:
    """One printed latency. seconds: of one inference of the whole batch. verified: what kind of figure it is."""

    device: str
    runtime: str
    precision: str
    model: str
    batch: int
    seconds: float
    source: str
    verified: str

    @property
    def apart(self) -> str:
        """Why it is no end-to-end measurement to learn from; empty where it is one."""
        return next((why for part, why in _APART.items() if part in self.verified), "")


@dataclass(frozen=True, slots=True)
class PublishedDevice:
    """A device of the latencies: its data sheet's name and its chip, each empty where nobody published them."""

    name: str
    data_sheet: str
    chip: str


@dataclass(frozen=True, slots=True)
class PublishedNetwork:
    """What a printed name stands for. network: timm's name, empty with the reason in `lacking`. counts: by name."""

    model: str
    network: str
    image: int
    lacking: str
    counts: dict[str, float]


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


@cache
def latencies() -> tuple[Published, ...]:
    """Every row of the table, those that are kept apart included."""
    return tuple(
        Published(
            row["device"], row["runtime"], row["precision"], row["model"], int(row["batch"]),
            float(row["latency_ms"]) / 1e3, row["source"], row["verified"],
        )
        for row in _rows(_FOLDER / "device_latency.csv")
    )  # fmt: skip


@cache
def latency_devices() -> dict[str, PublishedDevice]:
    """The devices of the latencies by name. Without a chip of its own name a device is its own chip."""
    return {
        row["latency_device"]: PublishedDevice(row["latency_device"], row["devices_csv_device"], row["chip"])
        for row in _rows(_FOLDER / "device_map.csv")
    }


@cache
def latency_networks() -> dict[str, PublishedNetwork]:
    """What every printed name of a network stands for."""
    known = ("model", "network", "image", "lacking")
    return {
        row["model"]: PublishedNetwork(
            row["model"], row["network"], int(row["image"] or 0), row["lacking"],
            {name: float(value) for name, value in row.items() if name not in known and value},
        )
        for row in _rows(NETWORKS)
    }  # fmt: skip
