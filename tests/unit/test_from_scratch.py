"""The curriculum, the patches' labels, and the start of the attention."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer

from vitedge_core.datasets.batch import Batch
from vitedge_core.experiments.from_scratch import BACKGROUND, Curriculum, TokenLabelled, Training, mimetic, token_loss


def vit() -> VisionTransformer:
    torch.manual_seed(0)
    return VisionTransformer(img_size=48, patch_size=6, embed_dim=64, depth=2, num_heads=4, num_classes=10)


def convnet() -> ByobNet:
    block = ByoBlockCfg(type="basic", d=1, c=8, s=2, gs=0, br=1.0)
    return ByobNet(ByoModelCfg(blocks=(block, block), stem_chs=8, stem_type="3x3", stem_pool="", act_layer="relu"))


def swin() -> SwinTransformer:
    return SwinTransformer(
        img_size=48, patch_size=3, window_size=4, embed_dim=24, depths=(2, 2), num_heads=(3, 6), num_classes=10
    )


def test_it_gets_harder_only_when_the_network_can_read():
    curriculum = Curriculum(Training(images=6400, lr=1e-3, step_up=0.1))
    labels = torch.arange(10)
    right, wrong = F.one_hot(labels).float(), F.one_hot((labels + 1) % 10).float()
    for _ in range(20):
        curriculum.mark(wrong, labels)
    assert curriculum.difficulty == 0
    for _ in range(60):
        curriculum.mark(right, labels)
    assert curriculum.difficulty == 1  # and no further


def test_the_same_curriculum_gives_the_same_images():
    training = Training(images=128, lr=1e-3)
    first, second = (list(Curriculum(training).batches()) for _ in range(2))
    assert len(first) == 2
    assert all(torch.equal(a.images, b.images) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0].images, first[1].images)


@pytest.mark.parametrize(("made", "grid"), [(vit, 8), (convnet, 6), (swin, 8)])
def test_every_kind_of_network_labels_its_patches(made, grid):
    logits, patches = TokenLabelled(made())(torch.zeros(2, 3, 48, 48))
    assert patches.shape == (2, grid, grid, BACKGROUND + 1)
    assert logits.shape[0] == 2


def test_a_patch_is_labelled_with_the_digit_that_covers_it():
    masks = torch.zeros(1, 48, 48, dtype=torch.bool)
    masks[:, :6, :6] = True  # the first of 8x8 patches
    batch = Batch(torch.zeros(1, 3, 48, 48), torch.tensor([7]), masks)
    truth = torch.full((1, 8, 8), BACKGROUND)
    truth[0, 0, 0] = 7
    told = 20.0 * F.one_hot(truth, BACKGROUND + 1).float()
    assert token_loss(told, batch) < 1e-4
    told[0, 0, 0] = 20.0 * F.one_hot(torch.tensor(BACKGROUND), BACKGROUND + 1)
    assert token_loss(told, batch) > 1


def test_heads_begin_by_looking_around_themselves():
    network = vit()
    mimetic(network)
    x = network.pos_embed
    attention = network.blocks[0].attn
    q, k, _ = attention.qkv(network.blocks[0].norm1(x)).chunk(3, -1)
    q, k = (part.unflatten(-1, (4, 16)).transpose(1, 2) for part in (q, k))
    weights = (q @ k.transpose(-1, -2) * attention.scale).softmax(-1)[0, :, 1:, 1:]
    uniform = 1 / weights.shape[-1]
    assert weights.diagonal(dim1=-2, dim2=-1).mean() > 1.2 * uniform


def test_other_networks_are_left_alone():
    network = convnet()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    mimetic(network)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_heads_in_windows_begin_by_looking_at_a_neighbour_each():
    network = swin()
    mimetic(network)
    attention = network.layers[0].blocks[0].attn
    bias = attention.relative_position_bias_table[attention.relative_position_index.view(-1)].view(16, 16, -1)
    seen = bias[5].softmax(0)  # of the token in row 1, column 1 of a 4x4 window
    assert seen[4, 0] == seen[:, 0].max()  # the first head looks one column to the left
    assert len(set(seen.argmax(0).tolist())) > 1
    assert torch.equal(bias[5, 4], bias[9, 8])  # the same for every token
