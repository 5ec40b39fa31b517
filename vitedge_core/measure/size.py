"""How many bytes a written package really takes."""

from __future__ import annotations

from pathlib import Path

from vitedge_core.errors import VitEdgeError
from vitedge_core.evidence import Quantity

WEIGHTS = "model.safetensors"


def weight_bytes(folder: Path) -> Quantity:
    """Size of the weights file in a package's folder.

    Raises:
        VitEdgeError: There is none.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise VitEdgeError(f"{folder} holds no {WEIGHTS}; it is no package of VitEdge.")
    return Quantity.exact(path.stat().st_size, "byte", f"size of the written {WEIGHTS}")
