"""Which target a person means: names of devices, runtimes and precisions as people write them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from vitedge_core.cost.devices import devices
from vitedge_core.cost.edge_target import Target
from vitedge_core.published.latencies import latency_devices


def matched(device: str, runtime: str, precision: str, targets: Sequence[Target]) -> Target:
    """The target of these names; where none of them is exactly so, one that differs in what people leave out.

    A name that nobody knows stays as it is, and whoever predicts says why it cannot.

    Args:
        device: As in the published rows or in the data sheets; "Galaxy S24" is "Samsung Galaxy S24".
        runtime: "tflite" is "tflite [NPU]" where the device has that.
        precision: "FP16" is "fp16 (AI Hub float)" where the runtime calls it so.
        targets: What there is.
    """
    name = device_named(device, targets)
    here = [target for target in targets if target.device == name]
    runtimes = {target.runtime for target in here}
    run = _like(runtime, runtimes) or _one({t.runtime for t in here if t.engine == _engine(runtime)}) or runtime
    there = [target for target in here if target.runtime == run]
    asked = Target(name, run, precision.strip())
    exact = _like(precision, {target.precision for target in there})
    for target in there:
        if target.precision == exact or (not exact and target.arithmetic == _arithmetic(asked)):
            return target
    return asked


def device_named(name: str, targets: Iterable[Target]) -> str:
    """The device people mean; one of the data sheets is the measured one it describes, if that is only one."""
    measured = {target.device for target in targets}
    sheets = {device.name for device in devices()}
    found = _like(name, measured) or _like(name, measured | sheets) or name.strip()
    if found in measured:
        return found
    same = {d.name for d in latency_devices().values() if d.data_sheet == found and d.name in measured}
    return _one(same) or found


def _engine(runtime: str) -> str:
    return Target("", runtime.strip(), "").engine


def _arithmetic(target: Target) -> str:
    lower = target.precision.lower().replace("-", "").replace("_", "")
    known = {"float32": "fp32", "float": "fp32", "half": "fp16", "float16": "fp16", "bfloat16": "bf16", "i8": "w8a8"}
    return known.get(lower, Target("", "", target.precision.lower()).arithmetic)


def _like(name: str, names: Collection[str]) -> str:
    """The one with the same words, else the only one whose words all stand in `name`, else the only one around it."""
    words = _words(name)
    if not words:
        return ""
    if name in names:
        return name
    spelt = {candidate: _words(candidate) for candidate in names}
    same = [candidate for candidate, own in spelt.items() if own == words]
    inside = {candidate: len(own) for candidate, own in spelt.items() if set(own) <= set(words)}
    longest = [candidate for candidate, size in inside.items() if size == max(inside.values())]
    around = [candidate for candidate, own in spelt.items() if set(words) <= set(own)]
    return _one(same) or _one(longest) or _one(around)


def _words(name: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9.+]+", name.lower()))


def _one(found: Collection[str]) -> str:
    return next(iter(found)) if len(found) == 1 else ""
