"""Devices that were measured instead of looked up: this machine, and boards whose calibration was imported.

They stand in the data folder, so that they outlive a restart, and answer as `Device`s like those of the table.
"""

from __future__ import annotations

import hashlib
import json
import math
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from vitedge_core.cost.calibration import Calibration
from vitedge_core.cost.devices import Device, devices
from vitedge_core.errors import VitEdgeError, unknown
from vitedge_core.storage import data_folder, written_whole

THIS_MACHINE = "This machine, one thread"
MOST = 50  # boards that are kept
_FOLDER = "devices"


@dataclass(frozen=True, slots=True)
class Machine:
    """What `measure.machine` found on one thread.

    macs_per_second: of a float32 matrix product. bytes_per_second: of a copy. call_seconds: of a layer that has next to
    nothing to do. memory: bytes, None where the system does not tell.
    """

    processor: str
    torch: str
    macs_per_second: float
    bytes_per_second: float
    call_seconds: float
    memory: int | None

    @property
    def device(self) -> Device:
        """It as a device; what was not measured is None."""
        how = f"fastest matrix product and copy in float32 on one thread, torch {self.torch}"
        memory = () if self.memory is None else (float(self.memory),)
        return Device(
            THIS_MACHINE, self.processor, "cpu", ((32, 2 * self.macs_per_second),), self.bytes_per_second, memory,
            None, f"measured here: {how}", "measured",
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def machine_file() -> Path:
    """Where the figures of this machine are kept."""
    return data_folder(_FOLDER) / "this_machine.json"


def this_machine() -> Machine | None:
    """This machine as it was measured last; None before that."""
    with suppress(OSError, ValueError, TypeError):
        found = Machine(**json.loads(machine_file().read_text(encoding="utf-8")))
        figures = (found.macs_per_second, found.bytes_per_second, found.call_seconds)
        if all(math.isfinite(figure) and figure > 0 for figure in figures):
            return found
    return None


def keep(text: str | bytes) -> Calibration:
    """Add a board by the file it wrote; one of the same name is replaced.

    Raises:
        VitEdgeError: The file is no whole calibration, its name is that of another device, or there are too many.
    """
    found = Calibration.from_json(text)
    if found.name in {known.name for known in devices()} | {THIS_MACHINE}:
        raise VitEdgeError(f"There is a device {found.name!r} already; calibrate with another --name.")
    path = _path(found.name)
    if not path.exists() and len(calibrations()) >= MOST:
        raise VitEdgeError(f"At most {MOST} boards are kept; remove one first.")
    with written_whole(path) as temporary:
        temporary.write_text(found.to_json(), encoding="utf-8")
    return found


def remove(name: str) -> None:
    """Forget a board.

    Raises:
        VitEdgeError: There is none of that name.
    """
    if not _path(name).exists():
        raise unknown("imported device", name, [board.name for board in calibrations()])
    _path(name).unlink(missing_ok=True)


def calibrations() -> tuple[Calibration, ...]:
    """The boards that were imported, by name; a file that became unreadable is left out."""
    found = []
    for path in data_folder(_FOLDER, "boards").glob("*.json"):
        with suppress(OSError, VitEdgeError):
            found.append(_read(path, path.stat().st_mtime_ns))
    return tuple(sorted(found, key=lambda board: board.name))


def calibrated_device(board: Calibration) -> Device:
    """A board as a device; its peak and bandwidth are what it reached, not what a data sheet promises."""
    threads = "one thread" if board.threads == 1 else f"{board.threads} threads"
    return Device(
        board.name, board.processor, "cpu", ((32, 2 * board.macs_per_second),), board.bytes_per_second,
        () if board.memory is None else (float(board.memory),), None,
        f"calibrated on {board.measured} with {threads}: {board.system}", "measured",
    )  # fmt: skip


def all_devices() -> tuple[Device, ...]:
    """This machine if it was measured, the imported boards, then the devices of the table."""
    machine = this_machine()
    own = (() if machine is None else (machine.device,)) + tuple(map(calibrated_device, calibrations()))
    return (*own, *devices())


def any_device(name: str) -> Device:
    """The device of that name, measured or looked up.

    Raises:
        VitEdgeError: There is none; the sentence has the nearest names.
    """
    known = {device.name: device for device in all_devices()}
    if name not in known:
        raise unknown("device", name, known)
    return known[name]


def _path(name: str) -> Path:
    return data_folder(_FOLDER, "boards") / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


@lru_cache(maxsize=MOST)
def _read(path: Path, _changed: int) -> Calibration:
    return Calibration.from_json(path.read_bytes())
