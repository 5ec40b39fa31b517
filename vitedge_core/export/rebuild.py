"""Rebuilds the model in this folder with PyTorch, timm and safetensors alone, smaller as it is: `rebuilt()`."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from torch import nn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
parts: Any = importlib.import_module("parts") if (HERE / "parts.py").exists() else None  # VitEdge's own, where needed


def narrow(layer, inputs, outputs):
    """Room for fewer inputs and outputs in a linear layer."""
    layer.weight = nn.Parameter(layer.weight[:outputs, :inputs].detach().clone())
    layer.bias = None if layer.bias is None else nn.Parameter(layer.bias[:outputs].detach().clone())
    layer.in_features, layer.out_features = inputs, outputs


def cut(model, kept):
    """Drop blocks, heads and hidden neurons; the weights that stay come with `load_state_dict`."""
    lists = [stage.blocks for stage in model.layers] if hasattr(model, "layers") else [model.blocks]
    for number, (holder, block) in enumerate([(blocks, block) for blocks in lists for block in blocks]):
        if number not in kept:
            del holder[list(holder).index(block)]
            continue
        attn, heads, hidden = block.attn, kept[number]["heads"], kept[number]["hidden"]
        width = attn.proj.in_features // attn.num_heads * heads
        narrow(attn.qkv, attn.qkv.in_features, 3 * width)
        narrow(attn.proj, width, attn.proj.out_features)
        attn.num_heads, attn.attn_dim = heads, width
        if hasattr(attn, "relative_position_bias_table"):
            attn.relative_position_bias_table = nn.Parameter(attn.relative_position_bias_table[:, :heads].detach())
        if hidden:
            narrow(block.mlp.fc1, block.mlp.fc1.in_features, hidden)
            narrow(block.mlp.fc2, hidden, block.mlp.fc2.out_features)


def unpacked(layer, held, path, bits):
    """The weights of a layer from their packed integers and the steps of their grid."""
    codes = np.unpackbits(held[path + ".weight"].numpy(), count=layer.weight.numel() * bits, bitorder="little")
    codes = codes.reshape(-1, bits).astype(np.int32) @ (1 << np.arange(bits, dtype=np.int32))
    step, zero = held.pop(path + ".weight_grid.step"), held.pop(path + ".weight_grid.zero", None)
    low = -(2 ** (bits - 1)) if zero is None else -zero.float()
    return (torch.from_numpy(codes.astype(np.float32)).reshape(layer.weight.shape) + low) * step


def rebuilt():
    """The model in eval mode. What rounds activations hangs on its layers as hooks."""
    card = json.loads((HERE / "card.json").read_text(encoding="utf-8"))
    shape, held = card["structure"], load_file(HERE / "model.safetensors")
    model = timm.create_model(card["timm"]["name"], **card["timm"]["arguments"]).eval()
    if shape["blocks"]:
        cut(model, {block["origin"]: block for block in shape["blocks"]})
    rounded = iter(held.pop("activation_grids", ()))
    placed = []  # what rounds activations, by path
    for grid in shape["grids"]:
        path, _, place = grid["path"].rpartition(".")
        if place == "weight_grid":
            held[path + ".weight"] = unpacked(model.get_submodule(path), held, path, grid["bits"])
        else:
            placed.append((path, place, parts.Grid(parts.Scale(*next(rounded)), grid["bits"], grid["scheme"])))
    model.load_state_dict(held)
    if shape["merged"]:
        parts.start_merging(model, shape["merged"], proportional=shape["proportional"])
    for path in shape["products"]:
        attention = parts.opened(model.get_submodule(path))
        attention.open_products()
        owner, _, name = path.rpartition(".")
        setattr(model.get_submodule(owner), name, attention)
    for path, place, grid in placed:
        layer = model.get_submodule(path)
        if place == "input_grid":
            layer.register_forward_pre_hook(lambda _, arguments, grid=grid: (grid(arguments[0]),))
        else:
            setattr(layer, place, grid)
    return model


if __name__ == "__main__":
    network = rebuilt()
    sys.stdout.write(f"{sum(p.numel() for p in network.parameters()):,} parameters\n")
