"""The four small networks this repository trains itself: timm classes with sizes of our own, registered with timm.

All see 48x48 RGB images and name ten digits. Importing the module makes `timm.create_model("digits_vit_base")` work;
the trained weights are in `assets/weights/` and are loaded by `models.load`.
"""

from __future__ import annotations

from typing import Any

from timm.models import register_model
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer

MEAN = (0.45, 0.42, 0.36)
STD = (0.27, 0.25, 0.26)
NAMES = ("digits_vit_base", "digits_vit_small", "digits_convnet", "digits_swin")


def _configured(model: Any, **sizes: Any) -> Any:
    """The model with the `pretrained_cfg` that timm's transforms and tasks look for."""
    model.pretrained_cfg = model.default_cfg = {
        "num_classes": 10, "input_size": (3, 48, 48), "mean": MEAN, "std": STD, "crop_pct": 1.0,
        "interpolation": "bicubic", "fixed_input_size": True, **sizes,
    }  # fmt: skip
    return model


def _sizes(kwargs: dict[str, Any], **own: Any) -> dict[str, Any]:
    """Our sizes overruled by the caller's, without the arguments that only timm's own loader understands."""
    ignored = {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "features_only"}
    return {"num_classes": 10, **own, **{k: v for k, v in kwargs.items() if k not in ignored}}


@register_model
def digits_vit_base(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Plain ViT (Dosovitskiy et al., ICLR 2021): 6 blocks, width 128, 4 heads, 64 patches of 6x6; 1.2 M parameters."""
    sizes = _sizes(kwargs, img_size=48, patch_size=6, embed_dim=128, depth=6, num_heads=4)
    return _configured(VisionTransformer(**sizes), first_conv="patch_embed.proj", classifier="head")


@register_model
def digits_vit_small(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """Plain ViT for a student: 6 blocks, width 64, 4 heads, 64 patches of 6x6; 0.3 M parameters."""
    sizes = _sizes(kwargs, img_size=48, patch_size=6, embed_dim=64, depth=6, num_heads=4)
    return _configured(VisionTransformer(**sizes), first_conv="patch_embed.proj", classifier="head")


@register_model
def digits_convnet(pretrained: bool = False, **kwargs: Any) -> ByobNet:
    """Residual convolutional network, the teacher: 24x24, 12x12 and 6x6 maps of 32, 64 and 128 channels; 0.7 M."""
    shape = ByoModelCfg(
        blocks=tuple(
            ByoBlockCfg(type="basic", d=depth, c=width, s=stride, gs=0, br=1.0)
            for depth, width, stride in ((1, 32, 1), (2, 64, 2), (2, 128, 2))
        ),
        stem_chs=32, stem_type="3x3", stem_pool="", act_layer="relu",
    )  # fmt: skip
    sizes = _sizes(kwargs)
    sizes.pop("img_size", None)
    return _configured(ByobNet(shape, **sizes), first_conv="stem.conv", classifier="head.fc", fixed_input_size=False)


@register_model
def digits_swin(pretrained: bool = False, **kwargs: Any) -> SwinTransformer:
    """Swin (Liu et al., ICCV 2021): 12x12 tokens of width 64, then 6x6 of width 128, windows of 6x6; 0.9 M."""
    sizes = _sizes(kwargs, img_size=48, patch_size=4, window_size=6, embed_dim=64, depths=(2, 4), num_heads=(4, 8))
    return _configured(SwinTransformer(**sizes), first_conv="patch_embed.proj", classifier="head.fc")
