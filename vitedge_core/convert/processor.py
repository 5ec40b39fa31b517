"""What this processor's 8-bit instructions do to the numbers."""

from __future__ import annotations

from functools import lru_cache

import torch

_UNSIGNED = "codes are unsigned, since this processor has no VNNI and would cut off sums of products with signed ones"
_HALF_RANGE = "weights use half of the 8-bit range, since this processor has no VNNI and would cut off larger sums"


@lru_cache(maxsize=1)
def cuts_sums_off() -> bool:
    """Whether sums of two products of an unsigned and a signed 8-bit integer are kept in 16 bits, and cut off there.

    So x86 without VNNI multiplies them (vpmaddubsw): 2 · 255 · 127 is more than 2^15. Of two unsigned integers engines
    form exact sums, the longer way.
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html (when to use U8U8)
    """
    can = torch.cpu.get_capabilities()
    return can["architecture"] in {"x86_64", "i386"} and not (can["avx512_vnni"] or can["avx_vnni"])


def unsigned_codes() -> tuple[str, ...]:
    """The fact that codes are unsigned, where they have to be."""
    return (_UNSIGNED,) if cuts_sums_off() else ()


def half_range() -> tuple[str, ...]:
    """The fact that weights use half of the range, where they have to."""
    return (_HALF_RANGE,) if cuts_sums_off() else ()
