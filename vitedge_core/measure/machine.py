"""What this machine's arithmetic and memory reach: a device like those of the table, but measured."""

from __future__ import annotations

import itertools
import json
import os
import platform
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch

from vitedge_core.cost.own_devices import THIS_MACHINE, Machine, machine_file
from vitedge_core.errors import Cancelled
from vitedge_core.measure.latency import alone
from vitedge_core.storage import written_whole

Report = Callable[[float, str], None]
_SIDES = (384, 512, 768)  # of square matrices: large enough to be worth a kernel's whole effort
_COPIED = 2**26  # bytes of a copy: more than caches hold
_SECONDS = 0.15  # for each size
_LEAST = 5  # calls


def this_machine(
    *, report: Report = lambda share, sentence: None, cancelled: Callable[[], bool] = lambda: False
) -> Machine:
    """Peak and bandwidth of one thread of this machine, kept in the data folder; about a second.

    Raises:
        Cancelled: `cancelled` said so.
    """
    with alone(1, cancelled):
        report(0.1, "Multiplying matrices")
        macs = peak()
        if cancelled():
            raise Cancelled
        report(0.6, "Copying memory")
        moved = bandwidth()
    found = Machine(processor_name(), torch.__version__, macs, moved, call_seconds(), memory())
    with written_whole(machine_file()) as path:
        path.write_text(json.dumps(found.to_dict()), encoding="utf-8")
    report(1.0, f"{THIS_MACHINE} is measured.")
    return found


def peak() -> float:
    """Multiply-accumulates per second of the fastest float32 matrix product seen, with torch's present threads."""
    best = 0.0
    with torch.inference_mode():
        for side in _SIDES:
            left, right, out = torch.randn(side, side), torch.randn(side, side), torch.empty(side, side)
            seconds = _fastest(lambda a=left, b=right, c=out: torch.mm(a, b, out=c))
            best = max(best, side**3 / seconds)
    return best


def bandwidth() -> float:
    """Bytes per second, read and written ones together, of the fastest large copy seen."""
    source, target = torch.ones(_COPIED // 4), torch.empty(_COPIED // 4)
    return 2 * _COPIED / _fastest(lambda: target.copy_(source))


def call_seconds() -> float:
    """Seconds of a layer that has next to nothing to do: what Python and PyTorch take for each call."""
    layer, values, calls = torch.nn.ReLU(), torch.zeros(1, 8), 100
    with torch.inference_mode():
        return _fastest(lambda: [layer(values) for _ in range(calls)]) / calls


def _fastest(call: Callable[[], object]) -> float:
    """Seconds of the fastest of many calls, by the clock of `clock`."""
    call()
    now, best, end = clock(), float("inf"), time.perf_counter() + _SECONDS
    for number in itertools.count():
        if number >= _LEAST and time.perf_counter() > end:
            return best
        start = now()
        call()
        best = min(best, now() - start)
    return best


def clock() -> Callable[[], float]:
    """With one thread its time on the processor, which no other program lengthens, else the clock on the wall."""
    return time.thread_time if torch.get_num_threads() == 1 else time.perf_counter


def processor_name() -> str:
    """The processor as the system calls it."""
    path = Path("/proc/cpuinfo")
    with suppress(OSError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            label, _, value = line.partition(":")
            if label.strip().lower() in {"model name", "hardware", "model"} and not value.strip().isdigit():
                return value.strip()[:100] or platform.machine()
    return (platform.processor() or platform.machine() or "unknown processor")[:100]


def memory() -> int | None:
    """Bytes of this machine's memory; None where the system does not tell."""
    with suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None


def free_memory() -> int | None:
    """Bytes that programs can still have without anything being swapped out; None where the system does not tell."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def governor() -> str:
    """How the system chooses the first core's frequency ("powersave"); empty where it does not tell."""
    path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    with suppress(OSError):
        return path.read_text(encoding="ascii", errors="replace").strip()[:40]
    return ""
