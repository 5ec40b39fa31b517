"""Printed names of networks, in all their styles."""

from __future__ import annotations

import pytest

from vitedge_core.errors import VitEdgeError
from vitedge_core.models.published_names import Network, network


@pytest.mark.parametrize(
    ("printed", "name", "image"),
    [
        ("vit_base_patch16_224 (torchvision ViT-B/16)", "vit_base_patch16_224", None),
        ("mobilenet_v2", "mobilenetv2_100", None),
        ("mobilenet_v2_1.0 224x224x3", "mobilenetv2_100", 224),
        ("vit_b_16 224", "vit_base_patch16_224", 224),
        ("vit_l_32", "vit_large_patch32_224", None),
        ("deit_tiny 224x224x3", "deit_tiny_patch16_224", 224),
        ("efficientvit_b2 (mit-han-lab) 288", "efficientvit_b2", 288),
        ("efficientvit_b2 (mit-han-lab)", "efficientvit_b2", 224),
        ("levit192 224x224x3", "levit_192", 224),
        ("resnet_v1_18 224x224x3", "resnet18", 224),
        ("fastvit_sa36 256x256", "fastvit_sa36", 256),
        ("mobilevit_s (AI Hub mobile_vit, 5.57M, 224)", "mobilevit_s", 224),
        ("PE-Core-base-patch16-224 image tower (ViT-B/16)", "vit_pe_core_base_patch16_224", None),
        ("dinov2_base_patch14 224", "vit_base_patch14_dinov2", 224),
        ("xcit_tiny_12_p8_384 384", "xcit_tiny_12_p8_384", 384),
        ("vit_base_patch32_384 (ncnn vision_transformer.param: 12 blocks, d768, 145 tokens)", "vit_base_patch32_384",
         None),
        ("regnet_y_400mf", "regnety_004", None),
        ("regnet_x_1_6gf 224", "regnetx_016", 224),
        ("DeiT_Small_patch16_224.fb_in1k", "deit_small_patch16_224", None),
    ],
)  # fmt: skip
def test_a_printed_name_finds_its_network(printed, name, image):
    assert network(printed) == Network(name, image)


def test_batch_norms_in_a_vit_are_another_network():
    assert network("vit_tiny_bn 224x224x3") == Network("vit_tiny_patch16_224", 224, folded_norms=True)
    assert not network("vit_tiny 224x224x3").folded_norms


@pytest.mark.parametrize(
    "printed",
    ["segformer_b0 512x512", "openai CLIP ViT-B/16 (image+text graph)", "mobilesam TinyViT encoder 448",
     "depth_anything_v2_small (DINOv2 ViT-S/14) 518x518", "cas_vit_s 384x384x3", "grounding_dino", "", "224", "()"],
)  # fmt: skip
def test_what_timm_lacks_is_refused_in_one_sentence(printed):
    with pytest.raises(VitEdgeError, match=r"timm has no .*\.$"):
        network(printed)
