"""Observing a model without changing it: hooks that are gone afterwards, whatever happens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def inputs_of(modules: Iterable[nn.Module], *, gradients: bool = False) -> Iterator[Mapping[nn.Module, Tensor]]:
    """The first argument of each of these modules in the latest forward pass.

    Args:
        modules: What to observe.
        gradients: Make the tensors part of a graph, so that a loss can be differentiated by them even when no
            parameter requires gradients.
    """
    seen: dict[nn.Module, Tensor] = {}

    def remember(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        if gradients and not arguments[0].requires_grad:
            arguments[0].requires_grad_()
        seen[module] = arguments[0]

    hooks = [module.register_forward_pre_hook(remember) for module in modules]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def inputs_and_outputs_of(modules: Iterable[nn.Module]) -> Iterator[Mapping[nn.Module, tuple[Tensor, Tensor]]]:
    """First argument and result of each of these modules in the latest forward pass."""
    seen: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def remember(module: nn.Module, arguments: tuple[Tensor, ...], result: Tensor) -> None:
        seen[module] = (arguments[0], result)

    hooks = [module.register_forward_hook(remember) for module in modules]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
