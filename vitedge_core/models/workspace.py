"""What a convolution keeps in memory beside its input and output while PyTorch computes it on a CPU with one thread.

Small and pointwise convolutions go to PyTorch's own kernel, which unfolds the image into columns; all others to oneDNN,
which copies image, weights and result into a layout of its own, channels in blocks of sixteen (eight without AVX-512),
and back. Which of the two is chosen follows `ConvParams::use_mkldnn` in PyTorch's `Convolution.cpp`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

BLOCK = 16 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 8  # channels that oneDNN keeps together
_SMALL = 20_480  # elements of an image up to which PyTorch takes its own kernel
_MANY = 16  # images from which even pointwise convolutions go to oneDNN on one thread


class Workspace(NamedTuple):
    """Elements in memory beside input and output: of an image `alone`; in a batch of each image, and once for all."""

    alone: int = 0
    each: int = 0
    once: int = 0


NO_WORKSPACE = Workspace()


class Steps(NamedTuple):
    """How a convolution walks: the stride of its places, the dilation of its taps, the groups of its channels."""

    stride: Sequence[int] = (1, 1)
    dilation: Sequence[int] = (1, 1)
    groups: int = 1


class _Layout(NamedTuple):
    """What one kernel needs: for each image, and once."""

    each: int = 0
    once: int = 0


def workspace(image: Tensor, weight: Tensor, output: Tensor, steps: Steps) -> Workspace:
    """The workspace of one convolution. A batch has 2 to 15 images: from sixteen on pointwise ones change kernels.

    Args:
        image: [1, C, ...]; its strides count, too: oneDNN computes on channels-last memory as it is.
        weight: [out, C / groups, ...].
        output: [1, out, ...].
        steps: How it walks.
    """
    alone = _layout(image, weight, output, steps)
    many = _layout(_twice(image), weight, _twice(output), steps)
    return Workspace(image.shape[0] * alone.each + alone.once, image.shape[0] * many.each, many.once)


def _twice(tensor: Tensor) -> Tensor:
    """Two of them, one behind the other in memory."""
    extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    images = 2 * max(1, tensor.shape[0])
    strides = (tensor.stride(0) if tensor.shape[0] > 1 else extent, *tensor.stride()[1:])
    return torch.empty_strided((images, *tensor.shape[1:]), strides, device="meta")


def _layout(image: Tensor, weight: Tensor, output: Tensor, steps: Steps) -> _Layout:
    last = _channels_last(image)
    if not _with_onednn(image, weight, steps):
        own = _unfolded(weight, output, steps.groups)
    elif last:
        own = _Layout(once=weight.numel() * (1 if steps.groups > 1 else 2))
    else:
        own = _blocked(image, weight, output, steps.groups)
    as_it_is = image.is_contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    return own if as_it_is else _Layout(own.each + image.numel() // image.shape[0], own.once)


def _with_onednn(image: Tensor, weight: Tensor, steps: Steps) -> bool:
    taps = weight.shape[2:]
    spread = any(n != 1 for n in (*steps.stride, *steps.dilation, *taps))
    large = image.numel() > _SMALL or image.shape[0] > 1 or all(n > 3 for n in taps)
    return (spread or image.shape[0] >= _MANY) and (steps.groups > 1 or large)


def _channels_last(image: Tensor) -> bool:
    """Whether PyTorch takes the memory for [B, height, width, C]; the answer for ambiguous strides is its own."""
    if image.dim() != 4:
        return False
    least = 0
    for place in (1, 3, 2, 0):
        size, stride = image.shape[place], image.stride(place)
        if size == 0 or stride < least or (place == 0 and least == image.stride(1)):
            return False
        least = max(1, stride) * max(1, size)
    return True


def _blocked(image: Tensor, weight: Tensor, output: Tensor, groups: int) -> _Layout:
    """oneDNN's own: copies of image, weights and result; then the result twice.

    Less than a block of channels is read as it lies there, and so is what each channel makes several results of.
    """
    images, channels = image.shape[0], image.shape[1]
    result, plain = _whole(output) // images, output.numel() // images
    if groups > 1 and weight.shape[1] == 1 and weight.shape[0] > groups:
        return _Layout(result)
    thinned = groups == 1 and prod(weight.shape[2:]) == 1 and image.shape[2:] != output.shape[2:]
    few = groups == 1 and channels < BLOCK and not thinned
    copy = 0 if few else _whole(image) // images
    taken = weight.shape[1] if few or groups > 1 else _rounded(channels)
    weights = _rounded(weight.shape[0]) * taken * prod(weight.shape[2:])
    weights += _rounded(channels) * prod(output.shape[2:]) if thinned else 0  # the places that its stride leaves
    computing = copy + result - plain
    return _Layout(computing, weights) if computing + weights >= result else _Layout(result)


def _unfolded(weight: Tensor, output: Tensor, groups: int) -> _Layout:
    """PyTorch's own: a column for each place of the result; results of groups are joined in the end."""
    if groups > 1:
        return _Layout(output.numel() // output.shape[0])
    if prod(weight.shape[2:]) == 1:  # its places are its columns; with a stride it would go to oneDNN
        return _Layout()
    return _Layout(prod(weight.shape[1:]) * prod(output.shape[2:]))


def _whole(tensor: Tensor) -> int:
    """Elements with the channels filled up to whole blocks."""
    return tensor.numel() // tensor.shape[1] * _rounded(tensor.shape[1])


def _rounded(channels: int) -> int:
    return -(-channels // BLOCK) * BLOCK
