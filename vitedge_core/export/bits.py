"""Integers of any width packed into bytes without gaps, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def packed_size(count: int, bits: int) -> int:
    """Bytes that `count` integers of `bits` take."""
    return -(-count * bits // 8)


def pack(codes: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    """Integers from 0 to 2^bits - 1 one after the other, lowest bit first; the last byte is filled up with zeros.

    Args:
        codes: Flat.
        bits: 1 to 16.
    """
    if bits == 8:
        return codes.astype(np.uint8)
    single = (codes.astype(np.uint16)[:, None] >> np.arange(bits, dtype=np.uint16)) & 1
    return np.packbits(single.astype(np.uint8).ravel(), bitorder="little")


def unpack(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.int32]:
    """The `count` integers that `pack` put into these bytes."""
    if len(packed) != packed_size(count, bits):
        raise ValueError(f"{count} integers of {bits} bits take {packed_size(count, bits)} bytes, not {len(packed)}")
    if bits == 8:
        return packed.astype(np.int32)
    single = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    return single.astype(np.int32) @ (1 << np.arange(bits, dtype=np.int32))
