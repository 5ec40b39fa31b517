"""A `torch.export` archive (`.pt2`): the graph and the weights for whoever has PyTorch, without the model's code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitedge_core.convert.quiet import first_line, quietly
from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.export.forms import Form, Parcel
from vitedge_core.export.passport import Passport

MOST_IMAGES = 1_024  # in a batch


class Pt2(Form):
    """The graph with every operation as PyTorch computes it here."""

    key = "pt2"
    title = "PyTorch export (.pt2)"
    ending = ".pt2"
    purpose = (
        "For servers and notebooks that have PyTorch: torch.export.load runs it, torch.compile and AOTInductor take it."
    )
    lacks = (
        "Weights of few bits are kept as float32, so the file is not smaller for them; batches go up to 1,024 images."
    )

    def convert(self, parcel: Parcel) -> Any:
        """Trace with a free batch size."""
        batch = torch.export.Dim("batch", min=1, max=MOST_IMAGES)
        try:
            with quietly(parcel.cancelled):
                return torch.export.export(parcel.model, (parcel.proof[:2],), dynamic_shapes=({0: batch},))
        except Cancelled:
            raise
        except Exception as error:
            raise VitEdgeError(f"torch.export cannot trace this model ({first_line(error)}); choose ONNX.") from error

    def save(self, converted: Any, passport: Passport, path: Path) -> None:
        """With the words of the passport as extra files."""
        torch.export.save(converted, path, extra_files=passport.entries())

    def answers(self, path: Path, images: Tensor) -> Tensor:
        """Of our own file: `torch.export.load` unpickles, so a stranger's is never opened."""
        module = torch.export.load(path).module()
        with torch.inference_mode():
            return module(images)
