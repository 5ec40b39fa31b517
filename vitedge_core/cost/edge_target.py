"""What is timed: a device with a runtime at a precision, and what such a target has in common with others.

A device shares its chip, a runtime its engine, a precision its arithmetic with other targets; the latency model learns
from whoever shares something.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from vitedge_core.cost.devices import Device, devices
from vitedge_core.published.latencies import latency_devices

_ENGINES = (
    ("timm benchmark", "PyTorch"), ("PyTorch", "PyTorch"), ("ncnn CPU", "ncnn CPU"), ("ncnn Vulkan", "ncnn Vulkan"),
    ("TensorRT", "TensorRT"), ("CoreML", "CoreML"), ("QNN", "qnn_dlc [NPU]"), ("HailoRT", "HailoRT"), ("RKNN", "RKNN"),
    ("LiteRT", "LiteRT GPU"),
)  # fmt: skip
_ARITHMETIC = {"int8": "w8a8", "fp16?": "fp16", "not stated": "fp16", "float16": "fp16", "float32": "fp32"}
_BITS = {"fp32": (32, 32), "fp16": (16, 16), "bf16": (16, 16), "w8a8": (8, 8), "w8a16": (8, 16)}


@dataclass(frozen=True, slots=True)
class Target:
    """A device, a runtime and a precision as they are printed. rows: published end-to-end latencies it has."""

    device: str
    runtime: str
    precision: str
    rows: int = 0

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells it from other targets."""
        return self.device, self.runtime, self.precision

    @property
    def chip(self) -> str:
        """The chip, which several devices may share."""
        known = latency_devices().get(self.device)
        return (known and known.chip) or self.device

    @property
    def engine(self) -> str:
        """The runtime without its version, threads and settings."""
        return _engine(self.runtime)

    @property
    def arithmetic(self) -> str:
        """The precision without its engine's own word for it: "fp16 (AI Hub float)" is "fp16", "int8" is "w8a8"."""
        return _arithmetic(self.precision)

    @property
    def bits(self) -> tuple[int, int] | None:
        """Bits of weights and of activations; None for an arithmetic nobody describes."""
        return _BITS.get(self.arithmetic.removesuffix("_mixed_int16"))

    @property
    def threads(self) -> int:
        """Threads its runtime's name states; 0 where it states none."""
        found = re.search(r"(\d+) threads", self.runtime)
        return int(found[1]) if found else 0

    @property
    def data_sheet(self) -> Device | None:
        """The device as its data sheet describes it; None where nobody published one."""
        known = latency_devices().get(self.device)
        name = known.data_sheet if known else self.device
        return _data_sheets().get(name)

    @property
    def macs_per_second(self) -> float | None:
        """The chip's peak at this precision: no latency can need more. Weights' bits count, as the bolder promise."""
        sheet = self.data_sheet
        return sheet.macs_per_second(self.bits[0]) if sheet and self.bits else None


@cache
def _engine(runtime: str) -> str:
    return next((engine for part, engine in _ENGINES if part in runtime), runtime)


@cache
def _arithmetic(precision: str) -> str:
    bare = re.split(r"[ /]", precision)[0] if precision.startswith("fp16") else precision
    return _ARITHMETIC.get(bare, bare)


@cache
def _data_sheets() -> dict[str, Device]:
    return {device.name: device for device in devices()}
