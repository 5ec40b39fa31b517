"""The file that a board writes about itself: how long layers and networks took there. Read as a stranger's file.

The file is JSON. Every timing lists its operations, so that whoever imports it needs neither the board nor a network
to learn what a kind of operation costs there.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from vitedge_core.errors import VitEdgeError
from vitedge_core.plan import Half, Kind, Op

VERSION = 1
MAX_BYTES = 4 * 2**20
MAX_TEXT = 120
LEAST_LAYERS, LEAST_NETWORKS = 20, 6
_MAX_ROWS, _MAX_OPS = 500, 4_000
_COUNTS = ("rows", "inputs", "outputs", "weights", "others", "reads", "writes")
_KINDS = {kind.value: kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Timing:
    """A stack of layers or a whole network: its operations, each with how often it stands there, and its seconds.

    seconds: lower quartile of `rounds` interleaved passes of one input.
    """

    name: str
    whole: bool
    ops: tuple[tuple[Op, int], ...]
    seconds: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a board measured of itself.

    macs_per_second, bytes_per_second: the fastest matrix product and the fastest copy in float32. memory: bytes, None
    where the system does not tell. measured: the day, as "2026-11-24".
    """

    name: str
    processor: str
    system: str
    threads: int
    memory: int | None
    measured: str
    macs_per_second: float
    bytes_per_second: float
    timings: tuple[Timing, ...]

    @property
    def layers(self) -> tuple[Timing, ...]:
        """The stacks of layers."""
        return tuple(timing for timing in self.timings if not timing.whole)

    @property
    def networks(self) -> tuple[Timing, ...]:
        """The whole networks."""
        return tuple(timing for timing in self.timings if timing.whole)

    def to_json(self) -> str:
        """The file's text."""
        device = {
            "name": self.name, "processor": self.processor, "system": self.system, "threads": self.threads,
            "memory_bytes": self.memory, "macs_per_second": self.macs_per_second,
            "bytes_per_second": self.bytes_per_second,
        }  # fmt: skip
        rows = [
            {"name": timing.name, "whole": timing.whole, "seconds": timing.seconds, "rounds": timing.rounds,
             "ops": [[op.kind.value, *(getattr(op, name) for name in _COUNTS), count] for op, count in timing.ops]}
            for timing in self.timings
        ]  # fmt: skip
        columns = ["kind", *_COUNTS, "count"]
        plain = {"vitedge_calibration": VERSION, "measured": self.measured, "device": device, "columns": columns,
                 "timings": rows}  # fmt: skip
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str | bytes) -> Calibration:
        """Read a file, from a person or from a stranger.

        Raises:
            VitEdgeError: It is too large, no such file, or a field is missing, of another kind, or out of range.
        """
        if len(text) > MAX_BYTES:
            raise VitEdgeError(
                f"A device file has at most {MAX_BYTES / 1e6:.1f} MB; this one has {len(text) / 1e6:.1f}."
            )
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise VitEdgeError("This is no device file: it is not JSON; make one with `calibrate --out`.") from error
        if not isinstance(plain, dict) or "vitedge_calibration" not in plain:
            raise VitEdgeError("This is no device file; make one with `python -m vitedge_core calibrate --out`.")
        if plain["vitedge_calibration"] != VERSION:
            raise VitEdgeError(f"The device file is of another version than {VERSION}; calibrate the board anew.")
        return _calibration(plain)


def counted(ops: Iterable[Op]) -> tuple[tuple[Op, int], ...]:
    """Operations without their place in the network, equal ones counted together."""
    bare = (
        replace(op, path="", block=-1, half=Half.NONE, held=0, scales=0, zeros=0, buffers=0, constants=0, header=0)
        for op in ops
        if op.macs or op.reads or op.writes
    )
    return tuple(Counter(bare).items())


def _calibration(plain: dict[str, Any]) -> Calibration:
    device, rows = plain.get("device"), plain.get("timings")
    if not isinstance(device, dict):
        raise VitEdgeError('The device file has no "device".')
    if not isinstance(rows, list) or len(rows) > _MAX_ROWS:
        raise VitEdgeError(f'The device file\'s "timings" must be a list of at most {_MAX_ROWS}.')
    memory = device.get("memory_bytes")
    found = Calibration(
        _text(device, "name"), _text(device, "processor"), _text(device, "system"),
        _whole(device, "threads", "the device", 1, 4_096),
        None if memory is None else _whole(device, "memory_bytes", "the device", 1, 2**60),
        _text(plain, "measured"), _positive(device, "macs_per_second", "the device", 1e18),
        _positive(device, "bytes_per_second", "the device", 1e16), tuple(map(_timing, rows)),
    )  # fmt: skip
    if len(found.layers) < LEAST_LAYERS or len(found.networks) < LEAST_NETWORKS:
        raise VitEdgeError(
            f"The device file holds {len(found.layers)} layers and {len(found.networks)} networks, too few to learn "
            f"from: it takes {LEAST_LAYERS} and {LEAST_NETWORKS}; let `calibrate` finish."
        )
    return found


def _timing(row: object) -> Timing:
    if not isinstance(row, dict) or not isinstance(row.get("whole"), bool):
        raise VitEdgeError('A timing of the device file must have "name", "whole", "seconds", "rounds" and "ops".')
    name, ops = _text(row, "name"), row.get("ops")
    if not isinstance(ops, list) or not 0 < len(ops) <= _MAX_OPS:
        raise VitEdgeError(f"The operations of {name} in the device file must be a list of 1 to {_MAX_OPS}.")
    return Timing(
        name, row["whole"], tuple(_op(op, name) for op in ops), _positive(row, "seconds", name, 3_600.0),
        _whole(row, "rounds", name, 1, 10**6),
    )  # fmt: skip


def _op(row: object, name: str) -> tuple[Op, int]:
    numbers = row[1:] if isinstance(row, list) and len(row) == len(_COUNTS) + 2 and row[0] in _KINDS else None
    if numbers is None or not all(type(number) is int and 0 <= number <= 10**13 for number in numbers):
        raise VitEdgeError(
            f"An operation of {name} in the device file must be a kind and {len(_COUNTS) + 1} whole numbers from 0."
        )
    return Op("", _KINDS[row[0]], **dict(zip(_COUNTS, numbers, strict=False))), numbers[-1]  # type: ignore[index]


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise VitEdgeError(f'The device file\'s "{name}" must be a text of 1 to {MAX_TEXT} printable characters.')
    return value


def _positive(fields: dict[str, Any], name: str, owner: str, most: float) -> float:
    value = fields.get(name)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not 0 < value <= most
    ):
        raise VitEdgeError(f'The device file\'s "{name}" of {owner} must be a number above 0, at most {most:g}.')
    return float(value)


def _whole(fields: dict[str, Any], name: str, owner: str, least: int, most: int) -> int:
    value = fields.get(name)
    if type(value) is not int or not least <= value <= most:
        raise VitEdgeError(f'The device file\'s "{name}" of {owner} must be a whole number from {least} to {most}.')
    return value
