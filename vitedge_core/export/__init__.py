"""Files that leave: the forms they take. Importing this package imports none of the runtimes; one file per format."""

from __future__ import annotations

from vitedge_core.errors import unknown
from vitedge_core.export.bundle import Package
from vitedge_core.export.executorch import Pte
from vitedge_core.export.forms import Form
from vitedge_core.export.onnx import OnnxFloat, OnnxInt8
from vitedge_core.export.openvino import OpenVinoIr
from vitedge_core.export.pt2 import Pt2

FORMS: tuple[Form, ...] = (Package(), OnnxFloat(), OnnxInt8(), OpenVinoIr(), Pt2(), Pte())


def form(key: str) -> Form:
    """The form of that key.

    Raises:
        VitEdgeError: Nobody knows it; the sentence names the nearest.
    """
    found = {one.key: one for one in FORMS}
    if key not in found:
        raise unknown("form", key, found)
    return found[key]
