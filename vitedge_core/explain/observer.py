"""Watching a model attend: one forward pass, and the attention probabilities of every block.

The observed model is never touched; a shell that shares its weights runs in its place, and `watch` sees inside it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain

import torch
from timm.layers.attention_pool import AttentionPoolLatent
from torch import Tensor, nn

from vitedge_core.explain import placement
from vitedge_core.explain.attention import BlockAttention, Observation
from vitedge_core.explain.fate import Fate
from vitedge_core.explain.placement import Look, UnmappableError
from vitedge_core.explain.readers import Pooling, reader_of
from vitedge_core.explain.watch import Watch, attention_sites, watching
from vitedge_core.surgery.capture import inputs_of
from vitedge_core.surgery.tokens import MergingBlocks, Tokens, merging_blocks


def observe(model: nn.Module, image: Tensor, *, toward: int | None = None) -> Observation:
    """Run a classifier on one image and note its attention.

    Args:
        model: Any timm classifier, compressed or not; it is neither changed nor hooked.
        image: [1, 3, height, width], normalised for the model.
        toward: A class; then every block also has the derivative of that class's logit by its probabilities.

    Returns:
        The observation; without blocks, and with a note that says why, where no map of attention exists.
    """
    return observer(model)(image, toward)


def observer(model: nn.Module) -> Callable[[Tensor, int | None], Observation]:
    """`observe` for many images of one model: a function of an image and of the class to look toward."""
    shell = shell_of(model)

    def run(image: Tensor, toward: int | None = None) -> Observation:
        return _observed(shell, image, toward)

    return run


def shell_of(model: nn.Module) -> nn.Module:
    """A copy of the modules, in eval mode, that shares every tensor with the original: hooks on it hurt nobody."""
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, shared).eval()


def _observed(shell: nn.Module, image: Tensor, toward: int | None) -> Observation:
    sites = attention_sites(shell)
    pools = [module for module in shell.modules() if isinstance(module, AttentionPoolLatent)]
    merging, blocks = merging_blocks(shell), [block for block, _ in sites.values()]
    with (
        torch.set_grad_enabled(toward is not None),
        _followed(merging) as owners,
        inputs_of(blocks) as entered,
        watching([*(attn for _, attn in sites.values()), *pools], differentiable=toward is not None) as watch,
    ):
        logits = shell(image.detach().requires_grad_(toward is not None))[0].float()
    gradients = _gradients(watch, logits, toward)
    logits = logits.detach()
    try:
        looks = _looks(shell, sites, entered, watch, gradients)
        poolings = _poolings(pools, watch, gradients)
        return replace(_placed(shell, logits, looks, poolings, owners), toward=toward)
    except UnmappableError as reason:
        return Observation(logits, note=str(reason))


@contextmanager
def _followed(merging: MergingBlocks | None) -> Iterator[list[Fate]]:
    """What the original tokens belong to after each block of a model that merges; empty for any other.

    Tokens that know their owners are put back in their places after the last block, which changes nothing for a
    classifier that reads only tokens that never merge.
    """
    fates: list[Fate] = []

    def ask(module: nn.Module, given: tuple[Tokens]) -> tuple[Tokens]:
        tokens = given[0]
        everyone = torch.arange(tokens.values.shape[1])[None]
        return (tokens._replace(owners=everyone) if tokens.owners is None else tokens,)

    def note(module: nn.Module, given: object, tokens: Tokens) -> None:
        assert tokens.owners is not None
        fates.append(Fate(tokens.owners[0], tokens.values.shape[1]))

    blocks = list(merging) if merging is not None else []
    hooks = [block.register_forward_hook(note) for block in blocks]
    if blocks:
        hooks.append(blocks[0].register_forward_pre_hook(ask))
    try:
        yield fates
    finally:
        for hook in hooks:
            hook.remove()


def _gradients(watch: Watch, logits: Tensor, toward: int | None) -> dict[int, Tensor]:
    """The derivative of a logit by all probabilities, by the identity of their tensor."""
    weights = [found for calls in watch.calls.values() for found in calls if found.requires_grad]
    if toward is None or not weights:
        return {}
    slopes = torch.autograd.grad(logits[toward], weights, allow_unused=True, materialize_grads=True)
    return {id(found): slope for found, slope in zip(weights, slopes, strict=True)}


def _looks(
    shell: nn.Module,
    sites: Mapping[str, tuple[nn.Module, nn.Module]],
    entered: Mapping[nn.Module, Tensor],
    watch: Watch,
    gradients: Mapping[int, Tensor],
) -> list[Look]:
    seen = {path: pair for path, pair in sites.items() if watch.calls[pair[1]] and pair[0] in entered}
    if not seen:
        raise UnmappableError(placement.why_nothing(shell, watch.elsewhere))
    placement.check([(attn, len(watch.calls[attn])) for _, attn in seen.values()])
    return [
        placement.unfolded(Look(path, block, attn, _values(entered[block]), *_four(watch.calls[attn][0], gradients)))
        for path, (block, attn) in seen.items()
    ]


def _four(weights: Tensor, gradients: Mapping[int, Tensor]) -> tuple[Tensor, Tensor | None]:
    """Weights and gradients as [G, H, n, m]: heads where there was only one, windows in one row."""
    slope = gradients.get(id(weights))
    shaped = [_windows_first(found.detach().float()) for found in (weights, slope) if found is not None]
    return shaped[0], shaped[1] if slope is not None else None


def _windows_first(weights: Tensor) -> Tensor:
    if weights.ndim == 3:
        return weights[:, None]
    return weights.flatten(0, -4) if weights.ndim > 4 else weights


def _values(entered: Tensor | Tokens) -> Tensor:
    """The tokens themselves; a block that merges is handed their sizes as well."""
    return (entered.values if isinstance(entered, Tokens) else entered).detach()


def _poolings(pools: Sequence[nn.Module], watch: Watch, gradients: Mapping[int, Tensor]) -> list[Pooling]:
    """Attention pooling by one latent query."""
    shaped = [_four(watch.calls[pool][0], gradients) for pool in pools if watch.calls[pool]]
    return [Pooling(w[0, :, 0], None if g is None else g[0, :, 0]) for w, g in shaped]


def _placed(
    shell: nn.Module, logits: Tensor, looks: list[Look], poolings: list[Pooling], merges: list[Fate]
) -> Observation:
    """Blocks, grid and reader put together; class attention (CaiT), which only reads, is no block."""
    readers = [look for look in looks if look.weights.shape[2] == 1 < look.weights.shape[3]]
    looks = [look for look in looks if look not in readers]
    if not looks:
        raise UnmappableError(placement.STRANGE)
    sequence = looks[0].entered.ndim == 3 and len({look.entered.shape[1] for look in looks}) == 1
    if merges or (sequence and looks[0].weights.shape[0] == 1):
        blocks, grid, final = _plain(shell, looks, merges)
    else:
        grid = placement.first_grid(shell, looks[0])
        blocks = [placement.on_grid(look, grid) for look in looks]
        final = blocks[-1].fate
    prefix = len(final.owner) - grid[0] * grid[1]
    reads = [
        Pooling(look.weights[0, :, 0], None if look.gradients is None else look.gradients[0, :, 0], itself=True)
        for look in readers
    ]  # fmt: skip
    reader, slopes, name = reader_of(shell, final, prefix, reads or poolings)
    return Observation(logits, tuple(blocks), grid, prefix, final, reader, name, relevance=slopes)


def _plain(
    shell: nn.Module, looks: list[Look], merges: list[Fate]
) -> tuple[list[BlockAttention], tuple[int, int], Fate]:
    """Every token attends to every token, [1, N, D] all the way."""
    tokens = looks[0].entered.shape[1]
    fates = [Fate.untouched(tokens), *(merges or [Fate.untouched(tokens)] * len(looks))]
    blocks = [placement.plain(look, fate) for look, fate in zip(looks, fates, strict=False)]
    return blocks, _grid(shell, tokens), fates[len(looks)]


def _grid(model: nn.Module, tokens: int) -> tuple[int, int]:
    """Rows and columns of patches among the tokens."""
    known = getattr(getattr(model, "patch_embed", None), "grid_size", None)
    if known is not None and 0 < known[0] * known[1] <= tokens:
        return int(known[0]), int(known[1])
    patches = tokens - int(getattr(model, "num_prefix_tokens", 0))
    side = math.isqrt(max(patches, 0))
    if side * side != patches:
        raise UnmappableError(placement.NO_GRID)
    return side, side
