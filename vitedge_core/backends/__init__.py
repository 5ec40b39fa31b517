"""The engines: importing this package imports none of the runtimes. One file per runtime, one entry per precision."""

from __future__ import annotations

from vitedge_core.backends import compiled, eager, onnxruntime, openvino, torchao
from vitedge_core.backends.base import Engine
from vitedge_core.errors import unknown

ENGINES: tuple[Engine, ...] = (
    *eager.ENGINES,
    *onnxruntime.ENGINES,
    *openvino.ENGINES,
    *compiled.ENGINES,
    *torchao.ENGINES,
)
BASELINE = eager.ENGINES[0]


def engine(key: str) -> Engine:
    """The engine of that key.

    Raises:
        VitEdgeError: Nobody knows it; the sentence names the nearest.
    """
    found = {one.key: one for one in ENGINES}
    if key not in found:
        raise unknown("engine", key, found)
    return found[key]
