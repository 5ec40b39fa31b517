"""How much memory one inference really takes, from the records of torch's own allocator."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from vitedge_core.evidence import Evidence, Quantity

_profiler = threading.Lock()  # a process has one profiler


def peak_memory(model: nn.Module, example: Tensor) -> Quantity:
    """Weights, input and the most that was allocated at once during a pass, in bytes; nothing of Python or torch.

    Weights and buffers count as they lie in memory, in float32 even where a file would pack them, and so do tables that
    a module makes at its first pass and keeps.

    Args:
        model: Put into eval mode.
        example: [B, 3, height, width].
    """
    from torch.profiler import ProfilerActivity, profile

    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler's own remarks are not for a user's terminal
    model.eval()
    with _profiler, torch.inference_mode():
        model(example)  # what is allocated once, at the first pass, does not count
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False) as trace:
            answer = model(example)
    del answer
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        trace.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    held = _bytes((*model.parameters(), *model.buffers(), *_kept(model), example))
    source = f"weights, input and peak of torch's allocator in one pass of a batch of {len(example)}, float32"
    return Quantity.exact(held + _peak(events), "byte", source, Evidence.MEASURED)


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Of their memory, each piece once."""
    found = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(found.values())


def _kept(model: nn.Module) -> Iterator[Tensor]:
    """Tensors that are neither parameter nor buffer: attributes of modules, alone or in a list or a dictionary."""
    for module in model.modules():
        for value in vars(module).values():
            inside = (
                value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
            )
            yield from (item for item in inside if isinstance(item, Tensor))


def _peak(events: list[dict]) -> int:
    """The highest sum of the allocations and releases in a trace."""
    records = sorted((e["ts"], e["args"]["Ev Idx"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]")
    now = highest = 0
    for _, _, size in records:
        now += size
        highest = max(highest, now)
    return highest
