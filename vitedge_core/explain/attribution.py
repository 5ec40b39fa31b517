"""Which pixels and patches count for a class, computed by Captum (Kokhlikyan et al., 2020, arXiv:2009.07896).

Integrated gradients: Sundararajan, Taly, Yan, ICML 2017, arXiv:1703.01365. Saliency: Simonyan, Vedaldi, Zisserman,
2014, arXiv:1312.6034. GradCAM: Selvaraju et al., ICCV 2017, arXiv:1610.02391, with the channels of tokens in the place
of feature maps. Occlusion: Zeiler and Fergus, ECCV 2014, arXiv:1311.2901.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedge_core.errors import Cancelled, VitEdgeError
from vitedge_core.evidence import Quantity
from vitedge_core.explain.attention import Observation
from vitedge_core.explain.observer import observe, shell_of
from vitedge_core.surgery.tokens import Tokens

Report = Callable[[float, str], None]
STEPS = 32  # of the integral along the path from grey to the image
CELLS = 64  # a map has at most so many cells a side: pixels of larger images are summed by squares
WINDOWS = 14  # at most so many grey squares a side are tried
_ROWS = 8  # images in a batch
_TOO_SMALL = 1e-3  # logits; completeness is not divided by less


@dataclass(frozen=True, slots=True)
class Method:
    """A method as people choose it. signed: it says for and against. unit: of its values."""

    title: str
    idea: str
    signed: bool
    unit: str


METHODS = {
    "integrated_gradients": Method(
        "Integrated gradients",
        "The gradient, added up along the way from an even grey to this image; the shares of all pixels sum to the "
        "change of the logit.", signed=True, unit="logit",
    ),
    "saliency": Method(
        "Saliency", "How steeply the logit moves with each pixel, whichever way.", signed=False,
        unit="logit per unit of the normalised pixel",
    ),
    "gradcam": Method(
        "GradCAM on tokens", "Tokens before the last block, weighed by how much each channel counts for the class.",
        signed=False, unit="activation times gradient",
    ),
    "occlusion": Method(
        "Occlusion", "How far the logit falls when a grey square hides this place.", signed=True, unit="logit"
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attribution:
    """What counts for a class on one image.

    method: a key of `METHODS`. target: the class. values: [h, w] in the method's unit. completeness: by how much the
    values miss the change of the logit that they should sum to, as a share of it; None where a method promises no sum.
    """

    method: str
    target: int
    values: Tensor
    completeness: Quantity | None = None


def attribute(  # noqa: PLR0917  the order of `look` and `compress`
    model: nn.Module,
    image: Tensor,
    target: int,
    method: str,
    report: Report = lambda share, sentence: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Attribution:
    """Ask which parts of an image count for a class.

    Args:
        model: Any timm classifier; it is neither changed nor hooked, a shell that shares its weights is.
        image: [1, 3, height, width], normalised for the model; grey is 0, the mean colour.
        target: The class.
        method: A key of `METHODS`.
        report: Told the share that is done.
        cancelled: Asked before each batch.

    Raises:
        VitEdgeError: The method needs tokens and the model has none.
        Cancelled: `cancelled` said so.
    """
    shell = shell_of(model)
    run = Counted(shell, METHODS[method].title, report, cancelled)
    return _CARRIED_OUT[method](run, image.detach(), target)


class Counted:
    """A classifier that reports how many of `total` images it has seen, and stops when it is told to."""

    def __init__(self, shell: nn.Module, name: str, report: Report, cancelled: Callable[[], bool]) -> None:
        self.shell, self.name, self.report, self.cancelled = shell, name, report, cancelled
        self.total, self.done = 1, 0

    def __call__(self, images: Tensor) -> Tensor:
        """Logits [B, K] of images [B, 3, height, width]."""
        if self.cancelled():
            raise Cancelled
        logits = self.shell(images)
        self.done += len(images)
        self.report(min(1.0, self.done / self.total), f"{self.name}: {self.done} of {self.total} images")
        return logits


def completeness(error: float, change: float, how: str) -> Quantity:
    """By how much attributions miss the change of the logit that they should sum to, as a share of it.

    Args:
        error: Captum's convergence delta, in logits.
        change: Of the logit between grey and the image.
        how: The numerical method, in words.
    """
    source = (
        f"Captum's convergence delta of {error:+.3g} logits, over the {change:+.3g} by which the class's logit differs "
        f"between an even grey and this image; {how}"
    )
    return Quantity.exact(abs(error) / max(abs(change), _TOO_SMALL), "share", source)


def change_of_logit(run: Callable[[Tensor], Tensor], image: Tensor, target: int) -> float:
    """The logit of the image less that of an even grey."""
    with torch.no_grad():
        grey, seen = run(torch.cat([torch.zeros_like(image), image]))[:, target]
    return float(seen - grey)


def _integrated_gradients(run: Counted, image: Tensor, target: int) -> Attribution:
    from captum.attr import IntegratedGradients

    run.total = STEPS + 4
    found, error = IntegratedGradients(run).attribute(
        image, torch.zeros_like(image), target=target, n_steps=STEPS, internal_batch_size=_ROWS,
        return_convergence_delta=True,
    )  # fmt: skip
    change = change_of_logit(run, image, target)
    missed = completeness(float(error), change, f"{STEPS} Gauss-Legendre steps")
    return Attribution("integrated_gradients", target, _by_cells(found.sum(1)), missed)


def _saliency(run: Counted, image: Tensor, target: int) -> Attribution:
    from captum.attr import Saliency

    found = Saliency(run).attribute(image.clone().requires_grad_(), target=target)
    cells = _by_cells(found.amax(1))
    return Attribution("saliency", target, cells * cells.numel() / found[0, 0].numel())


def _gradcam(run: Counted, image: Tensor, target: int) -> Attribution:
    from captum.attr import LayerGradCam

    seen = observe(run.shell, image)
    if not seen.blocks:
        raise VitEdgeError(f"{seen.note} GradCAM on tokens needs them; choose integrated gradients or occlusion.")
    layer, last = nn.Identity(), seen.blocks[-1]
    hook = run.shell.get_submodule(last.path).register_forward_pre_hook(_through(layer, seen.prefix))
    try:
        found = LayerGradCam(run, layer).attribute(image.clone(), target, relu_attributions=True)
    finally:
        hook.remove()
    tokens = F.pad(found.detach().flatten(), (seen.prefix, 0))  # pyright: ignore[reportAttributeAccessIssue]
    return Attribution("gradcam", target, _on_patches(seen, tokens))


def _through(layer: nn.Module, prefix: int) -> Callable[..., Any]:
    """A forward pre-hook that sends a block's patch tokens through `layer` as [B, D, N]."""

    def send(block: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        first, *rest = arguments
        values = first.values if isinstance(first, Tokens) else first
        if values.ndim == 4:
            sent = layer(values.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        else:
            patches = layer(values[:, prefix:].mT).mT
            sent = torch.cat([values[:, :prefix], patches], 1)
        return (first._replace(values=sent) if isinstance(first, Tokens) else sent, *rest)

    return send


def _on_patches(seen: Observation, tokens: Tensor) -> Tensor:
    """The value of its token in every patch, [h, w]; what was dropped gets 0."""
    fate = seen.blocks[-1].fate
    if len(tokens) != fate.tokens:
        raise VitEdgeError("GradCAM needs tokens in one row or grid, which this model's last block has not.")
    return seen.on_grid(torch.where(fate.owner < 0, 0.0, tokens[fate.owner.clamp_min(0)]))


def _occlusion(run: Counted, image: Tensor, target: int) -> Attribution:
    from captum.attr import Occlusion

    side = image.shape[-1]
    square = next(size for size in range(1, side + 1) if side % size == 0 and side // size <= WINDOWS)
    run.total = (side // square) ** 2 + 1
    found = Occlusion(run).attribute(
        image, sliding_window_shapes=(3, square, square), strides=(3, square, square), baselines=0, target=target,
        perturbations_per_eval=_ROWS,
    )  # fmt: skip
    return Attribution("occlusion", target, found[0, 0, ::square, ::square].detach().clone())


def _by_cells(found: Tensor) -> Tensor:
    """Values of pixels [1, height, width], summed by squares so that at most `CELLS` a side are left."""
    side = found.shape[-1]
    square = next(size for size in range(1, side + 1) if side % size == 0 and side // size <= CELLS)
    return F.avg_pool2d(found.detach(), square, divisor_override=1)[0]


_CARRIED_OUT: dict[str, Callable[[Counted, Tensor, int], Attribution]] = {
    "integrated_gradients": _integrated_gradients, "saliency": _saliency, "gradcam": _gradcam, "occlusion": _occlusion,
}  # fmt: skip
