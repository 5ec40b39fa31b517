"""A trained network that answers for a student: frozen, on the student's own view of every image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedge_core.errors import VitEdgeError


class Teacher:
    """The logits of `network` for images that were prepared for `student`.

    Both must see the same crop and the same noise (Beyer et al., "Knowledge Distillation: A Good Teacher Is Patient and
    Consistent", CVPR 2022, arXiv:2106.05237), so the student's images are normalised anew and resized when the two
    networks were trained with other statistics or at another size; nothing is drawn a second time.

    Args:
        network: Put into eval mode; no gradient reaches it.
        student: Only its input statistics and size are read.
        name: How messages call the teacher.
    """

    def __init__(self, network: nn.Module, student: nn.Module, name: str) -> None:
        self.network, self.name = network.eval(), name
        theirs, ours = _seen(network), _seen(student)
        self.size = theirs[2] if ours and theirs and theirs[2] != ours[2] else None
        self.scale, self.shift = _rescaling(ours, theirs)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Logits [B, K] for images [B, 3, height, width]."""
        if self.scale is not None and self.shift is not None:
            images = images * self.scale + self.shift
        if self.size is not None:
            images = F.interpolate(images, size=self.size, mode="bicubic", align_corners=False, antialias=True)
        return self.network(images)

    @torch.no_grad()
    def check(self, student: nn.Module, images: Tensor) -> None:
        """Make sure, on images of a first batch, that both name the same number of classes; leaves both in eval mode.

        Raises:
            VitEdgeError: They do not.
        """
        theirs, ours = self(images[:1]).shape[1], student.eval()(images[:1]).shape[1]
        if theirs != ours:
            raise VitEdgeError(
                f"The teacher {self.name} names {theirs:,} classes and the student {ours:,}; "
                "choose a teacher that was trained on the same classes."
            )


_Seen = tuple[tuple[float, ...], tuple[float, ...], tuple[int, int]]


def _seen(network: nn.Module) -> _Seen | None:
    """Mean, deviation and size of the images a network was made for; None where it does not say."""
    told = getattr(network, "pretrained_cfg", None)
    if not told or not {"mean", "std", "input_size"} <= set(told):
        return None
    return tuple(told["mean"]), tuple(told["std"]), tuple(told["input_size"][1:])  # type: ignore[return-value]


def _rescaling(ours: _Seen | None, theirs: _Seen | None) -> tuple[Tensor | None, Tensor | None]:
    """Factor and offset per channel from our normalisation to theirs; None where they agree."""
    if ours is None or theirs is None or ours[:2] == theirs[:2]:
        return None, None
    mean, std = torch.tensor(ours[0]), torch.tensor(ours[1])
    their_mean, their_std = torch.tensor(theirs[0]), torch.tensor(theirs[1])
    return (std / their_std)[:, None, None], ((mean - their_mean) / their_std)[:, None, None]
