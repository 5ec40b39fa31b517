"""Named edge devices and what their makers promise: peaks, bandwidth, memory, power, each with its source.

Facts are carried over from `published/devices.csv`; what nobody published is None, never a guess.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from vitedge_core.errors import unknown

_TABLE = Path(__file__).parents[1] / "published" / "devices.csv"
_GIGA = 1e9
_WORDS = {
    "cpu": ("cpu",),
    "gpu": ("gpu", "mali"),
    "npu": ("npu", "neural engine", "hexagon", "tpu"),
}


@dataclass(frozen=True, slots=True)
class Device:
    """A device as its data sheet describes it.

    kind: "cpu", "gpu" or "npu". peaks: operations per second (two for each multiply-accumulate) by bits of the
    arithmetic, 32, 16 or 8. bandwidth: bytes per second from its main memory. memory: bytes, of each variant that is
    sold. power: watts at full load. verified: how far the source was checked.
    """

    name: str
    processor: str
    kind: str
    peaks: tuple[tuple[int, float], ...]
    bandwidth: float | None
    memory: tuple[float, ...]
    power: float | None
    source: str
    verified: str

    def macs_per_second(self, bits: int) -> float | None:
        """Multiply-accumulates per second at the narrowest published arithmetic that holds `bits`; None if unknown."""
        fitting = [peak for width, peak in sorted(self.peaks) if width >= bits]
        return fitting[0] / 2 if fitting else None


@cache
def devices() -> tuple[Device, ...]:
    """Every device of the table, in its order."""
    with open(_TABLE, encoding="utf-8", newline="") as file:
        return tuple(map(_device, csv.DictReader(file)))


def device(name: str) -> Device:
    """The device of that name.

    Raises:
        VitEdgeError: There is none; the sentence has the nearest names.
    """
    known = {device.name: device for device in devices()}
    if name not in known:
        raise unknown("device", name, known)
    return known[name]


def _device(row: dict[str, str]) -> Device:
    columns = ((32, "peak_fp32_gflops"), (16, "peak_fp16_gflops"), (8, "peak_int8_gops"))
    bandwidth, power = _numbers(row["dram_gb_s"]), _numbers(row["tdp_w"])
    return Device(
        row["device"], row["cpu_or_accel"], _kind(row["cpu_or_accel"]),
        tuple((bits, float(row[column]) * _GIGA) for bits, column in columns if row[column]),
        bandwidth[0] * _GIGA if bandwidth else None, _memory(row["memory_gb"]), max(power) if power else None,
        row["source"], row["verified"],
    )  # fmt: skip


def _kind(processor: str) -> str:
    """The first kind of processor that the text names is the one its peaks are of."""
    lower = processor.lower()
    places = {kind: min((lower.find(word) for word in words if word in lower), default=len(lower))
              for kind, words in _WORDS.items()}  # fmt: skip
    return min(places, key=lambda kind: places[kind])


def _memory(text: str) -> tuple[float, ...]:
    """Bytes of each variant: "1/2/4/8" and "16-64" are gigabytes, "(8 MB SRAM)" is what it says."""
    scale = 1e6 if "MB" in text else _GIGA
    return tuple(number * scale for number in _numbers(text))


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]
