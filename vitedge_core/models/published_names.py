"""From the many ways in which networks are named in print to timm's name and the side of the image.

"vit_b_16 224", "deit_tiny 224x224x3" and "mobilenet_v2" are networks that timm builds under other names. What timm
lacks (segmenters, text towers, whole pipelines) is refused by name, so that nobody takes a part for the whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from vitedge_core.errors import VitEdgeError

_SIZE = re.compile(r"(?<![\w./-])(\d{3,4}|\d{2,4}(?=\s?x))(?:\s?x\s?\d{2,4})?(?:\s?x\s?3)?$")
_WHOLE = {
    "mobilenet": "mobilenetv1_100", "mobilenet_v1": "mobilenetv1_100", "mobilenet_v1_1.0": "mobilenetv1_100",
    "mobilenet_v2": "mobilenetv2_100", "mobilenet_v2_1.0": "mobilenetv2_100", "mobilenet_v2_1.4": "mobilenetv2_140",
    "mobilenet_v3": "mobilenetv3_large_100", "mobilenet_v3_large": "mobilenetv3_large_100",
    "mobilenet_v3_large_minimalistic": "tf_mobilenetv3_large_minimal_100",
    "mobilenet_v3_small": "mobilenetv3_small_100", "mnasnet": "mnasnet_100", "mnasnet05": "mnasnet_050",
    "efficientnet_v2_s": "efficientnetv2_s", "efficientnet_v2_m": "efficientnetv2_m",
    "efficientnet_v2_l": "efficientnetv2_l", "squeezenet1_1": "squeezenet1_1",
    "vit_tiny": "vit_tiny_patch16_224", "vit_small": "vit_small_patch16_224", "vit_base": "vit_base_patch16_224",
    "vit_large": "vit_large_patch16_224", "vit_base_bn": "vit_base_patch16_224", "vit_h_14": "vit_huge_patch14_224",
    "vit_small_bn": "vit_small_patch16_224", "vit_tiny_bn": "vit_tiny_patch16_224",
    "deit_tiny": "deit_tiny_patch16_224", "deit_small": "deit_small_patch16_224", "deit_base": "deit_base_patch16_224",
    "beit_base": "beit_base_patch16_224", "beit_large": "beit_large_patch16_224", "beit": "beit_base_patch16_224",
    "swin_t": "swin_tiny_patch4_window7_224", "swin_tiny": "swin_tiny_patch4_window7_224",
    "swin_s": "swin_small_patch4_window7_224", "swin_small": "swin_small_patch4_window7_224",
    "swin_b": "swin_base_patch4_window7_224", "swin_base": "swin_base_patch4_window7_224",
    "swin_v2_t": "swinv2_tiny_window8_256", "swin_v2_s": "swinv2_small_window8_256",
    "swin_v2_b": "swinv2_base_window8_256", "maxvit_t": "maxvit_tiny_tf_224", "resmlp_12": "resmlp_12_224",
    "resmlp_24": "resmlp_24_224", "mobile_vit": "mobilevit_s", "mobile_vit_s": "mobilevit_s",
    "mobile_vit_xs": "mobilevit_xs", "mobile_vit_xxs": "mobilevit_xxs", "dinov2_small": "vit_small_patch14_dinov2",
    "dinov2_base": "vit_base_patch14_dinov2", "dinov2_large": "vit_large_patch14_dinov2",
    "dinov2_small_patch14": "vit_small_patch14_dinov2", "dinov2_base_patch14": "vit_base_patch14_dinov2",
    "dinov2_large_patch14": "vit_large_patch14_dinov2", "clip_vit_base_patch16": "vit_base_patch16_clip_224",
    "clip_vit_base_patch32": "vit_base_patch32_clip_224", "clip_vit_large_patch14": "vit_large_patch14_clip_224",
    "openai_clip_vit_b_16_image_encoder": "vit_base_patch16_clip_224",
    "openai_clip_vit_b_32_image_encoder": "vit_base_patch32_clip_224",
    "openai_clip_vit_l_14_image_encoder": "vit_large_patch14_clip_224",
    "pe_core_base_patch16_224_image_tower": "vit_pe_core_base_patch16_224",
    "siglip2_vit_base_patch16_224_image_tower": "vit_base_patch16_siglip_224",
    "siglip_vit_base_patch16_224_image_tower": "vit_base_patch16_siglip_224",
}  # fmt: skip
_RULES = (
    (r"vit_([bl])_(16|32)", lambda m: f"vit_{'base' if m[1] == 'b' else 'large'}_patch{m[2]}_224"),
    (r"resnet_v1_(\d+)", r"resnet\1"),
    (r"levit(\d+s?)", r"levit_\1"),
    (r"regnet_?([xy])_([\d_]+)(m|g)f", lambda m: f"regnet{m[1]}_{_tenths(m[2], m[3])}"),
)
_SIDES = {"mit-han-lab": 224}  # whose networks are of that size where nothing is said, and timm's of another
_LACKING = {
    "segformer": "a segmenter", "sam2": "a segmenter", "mobilesam": "a segmenter", "grounding_dino": "a detector",
    "owl_vit": "a detector", "depth_anything": "a depth estimator", "image+text": "an image tower with a text tower",
    "full pipeline": "a pipeline", "text encoder": "a text tower",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Network:
    """What a published name stands for: a timm network, the side of its square image, and a departure from timm's.

    image: None is the network's own. folded_norms: batch norms stand where timm's network has layer norms; a runtime
    folds them into the layer before.
    """

    name: str
    image: int | None = None
    folded_norms: bool = False


def network(published: str) -> Network:
    """The network that a published name stands for.

    Args:
        published: As it is printed, with or without remarks in brackets and the size of the image.

    Raises:
        VitEdgeError: timm has no such network; the sentence says what is known of it.
    """
    text = " ".join(published.lower().split())
    for part, what in _LACKING.items():
        if part in text or part in text.replace("-", "_"):
            raise VitEdgeError(f"{published[:60]!r} is {what}: timm has no such network.")
    remark = re.search(r"\(([^)]*)\)", text)
    bare = re.sub(r"\([^)]*\)", " ", text).strip()
    side = _side(bare) or (_side(remark[1]) or _SIDES.get(remark[1]) if remark else None)
    name = _named(re.sub(_SIZE, "", bare).strip())
    if name is None or name not in _timm():
        raise VitEdgeError(f"timm has no network {published[:60]!r}.")
    return Network(name, side, bare.startswith("vit_") and "_bn" in bare)


def _side(text: str) -> int | None:
    found = _SIZE.search(text)
    return int(found[1]) if found else None


def _named(words: str) -> str | None:
    key = re.sub(r"[\s/-]+", "_", words)
    if key in _WHOLE:
        return _WHOLE[key]
    if key in _timm():
        return key
    for pattern, replacement in _RULES:
        match = re.fullmatch(pattern, key)
        if match:
            return replacement(match) if callable(replacement) else match.expand(replacement)
    return _loosely(key)


def _loosely(key: str) -> str | None:
    """The only timm network whose name differs in underscores alone, or a tag of weights."""
    plain = key.partition(".")[0] if key.partition(".")[0] in _timm() else key
    if plain in _timm():
        return plain
    squeezed = key.replace("_", "")
    found = [name for name in _timm() if name.replace("_", "") in {squeezed, f"{squeezed}224"}]
    return found[0] if len(found) == 1 else None


def _tenths(number: str, unit: str) -> str:
    """ "400m" is timm's "004", "1_6g" its "016"."""
    amount = float(number.replace("_", "."))
    return f"{round(amount / 100 if unit == 'm' else amount * 10):03d}"


@cache
def _timm() -> frozenset[str]:
    import timm

    import vitedge_core.models.bundled.architectures  # noqa: F401  registers the bundled networks with timm

    return frozenset(timm.list_models())
