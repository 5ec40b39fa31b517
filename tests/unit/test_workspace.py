"""What a convolution keeps for itself, against the records of torch's own allocator on this machine."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vitedge_core.measure.memory import peak_memory
from vitedge_core.models.workspace import BLOCK, NO_WORKSPACE, Steps, Workspace, _with_onednn, workspace


class Convolution(nn.Module):
    """One convolution and nothing else, on the image as it comes or with channels last."""

    def __init__(self, inside: nn.Conv2d, *, last: bool = False) -> None:
        super().__init__()
        self.inside, self.last = inside, last

    def forward(self, images):
        return self.inside(images.to(memory_format=torch.channels_last) if self.last else images)


def foretold(layer: nn.Conv2d, images: torch.Tensor) -> int:
    """Bytes of weights, image, result and workspace."""
    image, result = images[:1], layer(images)[:1]
    own = workspace(image, layer.weight, result, Steps(layer.stride, layer.dilation, layer.groups))
    extra = own.alone if len(images) == 1 else len(images) * own.each + own.once
    parameters = sum(p.numel() for p in layer.parameters())
    return 4 * (parameters + images.numel() + len(images) * result.numel() + extra)


pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
CASES = {
    "unfolded into columns": (nn.Conv2d(32, 32, 3, padding=1), 24, 1),
    "large, so in blocks": (nn.Conv2d(32, 48, 3, padding=1), 40, 1),
    "channels that fill no block": (nn.Conv2d(24, 40, 3, stride=2, padding=1), 64, 1),
    "of colours": (nn.Conv2d(3, 64, 16, stride=16), 224, 1),
    "pointwise with a stride": (nn.Conv2d(64, 128, 1, stride=2), 56, 1),
    "pointwise with a stride, of colours": (nn.Conv2d(3, 48, 1, stride=2), 128, 1),
    "pointwise": (nn.Conv2d(64, 256, 1), 28, 1),
    "depthwise": (nn.Conv2d(64, 64, 3, padding=1, groups=64), 28, 1),
    "two results of each channel": (nn.Conv2d(64, 128, 3, padding=1, groups=64), 28, 1),
    "pointwise in groups": (nn.Conv2d(64, 64, 1, groups=4), 28, 1),
    "a batch leaves the columns": (nn.Conv2d(32, 32, 3, padding=1), 24, 4),
}


@pytest.mark.parametrize(("layer", "side", "batch"), CASES.values(), ids=CASES)
@torch.no_grad()
def test_foretold_within_a_twentieth_of_what_is_allocated(layer, side, batch):
    images = torch.randn(batch, layer.in_channels, side, side)
    measured = peak_memory(Convolution(layer), images).value
    assert foretold(layer, images) == pytest.approx(measured, rel=0.05)


@given(
    st.integers(1, 80), st.integers(1, 80), st.sampled_from([1, 2, 3, 5, 7]), st.integers(1, 2), st.integers(7, 48),
    st.booleans(), st.sampled_from([1, 2, 15]),
)  # fmt: skip
@settings(max_examples=60)
def test_pytorch_chooses_the_kernel_that_is_expected(inputs, outputs, taps, stride, side, depthwise, batch):
    groups = inputs if depthwise else 1
    outputs = inputs if depthwise else outputs
    image = torch.empty(batch, inputs, side, side)
    weight = torch.empty(outputs, inputs // groups, taps, taps)
    pad = (taps // 2, taps // 2)
    chosen = torch._C._select_conv_backend(image, weight, None, (stride, stride), pad, (1, 1), False, (0, 0), groups)
    expected = _with_onednn(image, weight, Steps((stride, stride), (1, 1), groups))
    assert ("Mkldnn" in chosen.name) == expected


def test_channels_last_is_computed_as_it_lies():
    image = torch.empty(1, 64, 28, 28).to(memory_format=torch.channels_last)
    weight = torch.empty(64, 1, 7, 7)
    result = F.conv2d(image, weight, padding=3, groups=64)
    assert workspace(image, weight, result, Steps(groups=64)) == Workspace(weight.numel(), 0, weight.numel())


def test_a_turned_image_is_copied_first():
    tokens = torch.empty(1, 56 * 56, 256)
    image = tokens.transpose(1, 2).reshape(1, 256, 56, 56).as_strided((1, 256, 56, 56), (256, 1, 56 * 256, 256))
    weight = torch.empty(256, 1, 3, 3)
    result = torch.empty(1, 256, 56, 56)
    alone = workspace(image, weight, result, Steps(groups=256))
    assert alone.alone == 3 * image.numel() + weight.numel() - result.numel()


def test_a_pointwise_one_needs_nothing():
    image, weight, result = torch.empty(1, 64, 14, 14), torch.empty(BLOCK, 64, 1, 1), torch.empty(1, BLOCK, 14, 14)
    assert workspace(image, weight, result, Steps()).alone == NO_WORKSPACE.alone == 0
