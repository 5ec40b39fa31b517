"""A differentiable search for the widths, the depth and the bits of every block, with a device's time in the loss.

Cai, Zhu, Han, "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware", ICLR 2019, arXiv
1812.00332.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitedge_core.cost.devices import device
from vitedge_core.cost.path_times import path_times
from vitedge_core.cost.roofline import roofline
from vitedge_core.datasets.batch import Batch
from vitedge_core.errors import VitEdgeError
from vitedge_core.plan import BLOCK_LAYERS, FLOAT_BITS, Block, Plan
from vitedge_core.registry import register
from vitedge_core.surgery.blocks import drop_blocks
from vitedge_core.surgery.host import BlockHandle, blocks
from vitedge_core.surgery.importance import taylor
from vitedge_core.surgery.losses import mixed, soft_logits
from vitedge_core.surgery.ranking import removed
from vitedge_core.surgery.replace import QuantLinear, takes_grids
from vitedge_core.surgery.rounding import Rounding, Site
from vitedge_core.surgery.structure import cut, inner_means
from vitedge_core.surgery.supernet import Bits, Chosen, SearchedBlock, Widths
from vitedge_core.surgery.train import Schedule, Trainer
from vitedge_core.techniques.base import Card, Context, Family, Technique, knob, settled, switch, text
from vitedge_core.techniques.path_latency import PathLatency

FLOAT: Bits = (FLOAT_BITS, FLOAT_BITS)
ROUNDINGS: tuple[Bits, ...] = (FLOAT, (8, 8), (4, 8))
SHARES = (1.0, 0.75, 0.5, 0.25)  # of the neurons; of the heads as many as there are, but no more than these
WARM_UP = 0.25  # share of the run in which only weights learn, on paths drawn by lot
EVERY = 2  # weight steps for each step of the choices
RATE = 0.05  # of the choices' Adam
PRESSURE = 2.0  # weight of the time beyond the target in the loss
TEMPERATURE, TEACHER = 2.0, 0.7
BATCH = 64  # calibration images in a step of the choices


@register
@dataclass(frozen=True)
class Proxyless(Technique):
    """Searches which heads, neurons, blocks and bits to keep, for a device.

    Idea: Every block becomes a choice: keep it or skip it, with how many of its most important heads and neurons, and
    each layer in float, 8 or 4 bits. One path, drawn by lot, is open at a time. The weights learn on drawn paths; in
    turns with that the chances of the paths learn, from what each candidate does to the loss and from the time a path
    is expected to take on the device. In the end the likeliest path is cut out of the model.

    Cost: Some hundred training steps of the model, once. What comes out is a smaller dense model.

    When it fails: In a search of a minute the chances are hardly settled, so a plain ranking can do as well. The time
    is that of the device's roofline, which knows no overheads. After a deep cut the model must be trained (add
    soft_logits after it), and without training images there is no search.

    Reference: Cai, Zhu and Han, ICLR 2019.
    """

    card: ClassVar[Card] = Card(
        key="proxyless",
        title="Search for a device (ProxylessNAS)",
        family=Family.SEARCH,
        reference="Cai, Zhu and Han, ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware, 2019",
        arxiv="1812.00332",
        differs=(
            (
                "It starts from the trained model; candidates are slices of one weight tensor, the more important "
                "units first (Taylor importance), not operations with weights of their own."
            ),
            "The chances begin at the trained model's own path, not at even ones.",
            "All candidates of a decision are computed when the choices learn, not two that are drawn.",
            (
                "The time is that of the device's roofline, and only what lies beyond the target is in the loss; at "
                "the end the likeliest path is made to meet the target."
            ),
            (
                "The loss has the uncompressed model as a teacher; hundreds of steps instead of hundreds of epochs, "
                "and a larger step size of the choices."
            ),
            "The weights learnt in the search are dropped, as in the paper; the path is cut from the trained model.",
        ),
        measured=(
            "On digits_vit_base (96.2 % of 2,000 test images right) a search of 12,800 images for half of the time on "
            "a Raspberry Pi 5 finds 0.45 of it; trained on 12,800 images more, 93.5 % are left. NSGA-II, which tried "
            "2,310 untrained shapes in the same processor time, leaves 90.5 % at 0.47 (3.0 points less, 1.9 to 4.2). "
            "An even cut of heads and neurons leaves 92.6 % at 0.50: over that the lead is within chance (+0.9 points, "
            "−0.2 to +1.9)."
        ),
        calibrates=True,
        trains=True,
    )

    target: float = knob(
        0.5, 0.1, 1.0, 0.05, label="Time left", help="Share of the model's time on the device that may remain."
    )
    board: str = text(
        "Raspberry Pi 5", label="Device", help="Whose published peak and bandwidth give the time of each layer."
    )
    depth: bool = switch(default=True, label="Skip blocks", help="Whole blocks may go.")
    bits: bool = switch(default=False, label="Choose bits", help="Layers may become 8 or 4 bits, inputs 8 bits.")
    images: int = knob(
        12_800, 16, 1_000_000, 16, label="Images", help="The search ends after about so many training images."
    )
    seconds: int = knob(300, 1, 3600, 1, label="Seconds", help="The search ends after this time at the latest.")
    lr: float = knob(1e-4, 1e-6, 1e-2, 1e-5, label="Learning rate", help="Of the weights during the search.")
    chosen: tuple[tuple[int, Chosen], ...] | None = None  # by the number of the block

    def supports(self, plan: Plan) -> str | None:
        """Refused where there is nothing to choose, after steps that fix the shape, without figures of the device."""
        title = self.card.title
        if not any(_editable(block) for block in plan.blocks):
            return f"{title} finds no heads and neurons to choose in {plan.model}; choose a plain ViT or a Swin."
        if plan.quantised:
            return f"{title} needs unquantised weights: move this step before the quantisation."
        if plan.merges_tokens:
            return f"{title} would shift the schedule of the token merging: move this step before it."
        if plan.zeros:
            return f"{title} does not keep zeros where they are: move this step before the sparsity."
        try:
            lacking = roofline(plan, device(self.board)).missing
        except VitEdgeError as error:
            return str(error)
        return f"{lacking[0].rstrip('.')}; choose another device for the search." if lacking else None

    def decide(self, model: nn.Module, plan: Plan, context: Context) -> Self:
        """Search on a copy."""
        if context.labels is None or context.stream is None:
            raise VitEdgeError(
                "The search needs labelled training images and there are none for this model; choose one of the digits "
                "models, or prune with head_mlp_magnitude."
            )
        search = _Search(self, model, plan, context)
        search.run(context.stream)
        return settled(self, chosen=search.found())

    def plan(self, plan: Plan) -> Plan:
        """Exact once decided; before that an estimate with every block narrowed alike."""
        if self.chosen is None:
            for index, block in enumerate(plan.blocks):
                if _editable(block):
                    plan = plan.keep_heads(index, block.heads - removed(block.heads, 1 - self.target, 1))
                    if block.hidden:
                        plan = plan.keep_hidden(index, block.hidden - removed(block.hidden, 1 - self.target, 8))
            return replace(plan, exact=False)
        for index, found in self.chosen:
            if found.kept is not None:
                plan = plan.keep_heads(index, len(found.kept.heads))
                if found.kept.hidden:
                    plan = plan.keep_hidden(index, len(found.kept.hidden))
        plan = plan.drop_blocks(self._dropped) if self._dropped else plan
        return Rounding().plan(plan, self._sites([block.path for block in plan.blocks]))

    def apply(self, model: nn.Module, context: Context) -> nn.Module:
        """Cut the path out of the model, with the means of what goes in the biases behind it, and round it."""
        if self.chosen is None:
            raise ValueError("decide this technique on the model before applying it")
        handles = blocks(model)
        searched = [(handles[index], found.kept) for index, found in self.chosen if found.kept is not None]
        means = inner_means(
            model, [handle for handle, _ in searched], context.images, context.ticker("Averaging what is to be removed")
        )
        for (handle, kept), mean in zip(searched, means, strict=True):
            cut(handle, kept, mean)
        if self._dropped:
            drop_blocks(model, self._dropped)
        sites = self._sites([handle.path for handle in blocks(model)])
        if sites:
            Rounding().carry_out(model, sites, lambda: context.images, context.generator, context.tick)
        return model

    @property
    def _dropped(self) -> tuple[int, ...]:
        return tuple(index for index, found in self.chosen or () if found.kept is None)

    def _sites(self, paths: Sequence[str]) -> list[Site]:
        """What is rounded, by the paths of the blocks that are left."""
        gone, sites = self._dropped, []
        for index, found in self.chosen or ():
            place = index - sum(other < index for other in gone)
            if index not in gone:
                pairs = zip(BLOCK_LAYERS, found.bits, strict=True)
                sites += [Site(f"{paths[place]}.{name}", *bits) for name, bits in pairs if bits != FLOAT]
        return sites


class _Search:
    """One search: a supernet of the model, and two learners that take turns."""

    def __init__(self, knobs: Proxyless, model: nn.Module, plan: Plan, context: Context) -> None:
        self.knobs, self.context, self.teacher = knobs, context, model.eval()
        self.net = copy.deepcopy(model)
        self.limit = knobs.target * roofline_seconds(plan, knobs.board)
        self.latency = self._latency(plan)

    def _latency(self, plan: Plan) -> PathLatency:
        """The decisions, installed in the net, and what their candidates take."""
        assert self.context.labels is not None
        handles = {index: handle for index, handle in enumerate(blocks(self.net)) if handle.editable}
        tick = self.context.ticker("Weighing heads and neurons")
        scores = taylor(self.net, list(handles.values()), self.context.images, self.context.labels, tick=tick)
        widths = {index: self._widths(handle) for index, handle in handles.items()}
        table = path_times(plan, device(self.knobs.board), {i: w.heads for i, w in widths.items()},
                           {i: w.hidden for i, w in widths.items()}, self._bits)  # fmt: skip
        generator = self.context.generator
        searched = {
            index: SearchedBlock(handles[index], score, widths[index], generator)
            for index, score in zip(handles, scores, strict=True)
        }
        grids = self._grids([handle.path for handle in handles.values()])
        for block in searched.values():
            block.install(self.net, grids)
        lists = {index: plan.blocks[index].path.rpartition(".")[0] for index in searched}
        return PathLatency(searched, table, lists)

    @property
    def _bits(self) -> tuple[Bits, ...]:
        return ROUNDINGS if self.knobs.bits else ROUNDINGS[:1]

    def _widths(self, handle: BlockHandle) -> Widths:
        heads = sorted({max(1, round(share * handle.heads)) for share in SHARES}, reverse=True)
        heads += [heads[-1]] * (len(SHARES) - len(heads))  # as many candidates in every block
        hidden = [max(1, round(share * handle.hidden)) for share in SHARES] if handle.hidden else []
        return Widths(tuple(heads), tuple(hidden), self._bits, self.knobs.depth)

    def _grids(self, paths: Sequence[str]) -> dict[str, tuple[nn.Module, nn.Module, nn.Module]]:
        """Grids of the input and of the 8-bit and 4-bit weights of every layer of blocks, on the calibration images."""
        if not self.knobs.bits:
            return {}
        rounding, rounded = Rounding(), copy.deepcopy(self.teacher)
        every = [f"{path}.{name}" for path in paths for name in BLOCK_LAYERS]
        known = dict(rounded.named_modules())
        sites = [Site(path, 8, 8) for path in every if path in known and takes_grids(known[path])]
        context = self.context
        rounding.carry_out(rounded, sites, lambda: context.images, context.generator, context.tick)
        grids = {}
        for site in sites:
            layer = rounded.get_submodule(site.path)
            assert isinstance(layer, QuantLinear)
            grids[site.path] = layer.input_grid, layer.weight_grid, rounding.weight_grid(layer.weight.detach(), 4)
        return grids

    def run(self, stream: Callable[[int], Iterator[Batch]]) -> None:
        """Weights and choices learn in turns until the images or the seconds are used up."""
        batches = stream(int(torch.randint(2**31 - 1, (1,), generator=self.context.generator)))
        batch, start = next(batches), time.monotonic()
        schedule = Schedule(max(1, -(-self.knobs.images // len(batch.labels))), self.knobs.lr, self.knobs.seconds)
        logits = [decision.logits for decision in self.latency.decisions]
        with _still(logits):  # the trainer takes every parameter that learns
            trainer = Trainer(self.net, self._loss, schedule)
        learner = torch.optim.Adam(logits, lr=RATE, betas=(0.0, 0.999))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # dropout draws from torch's own generator
            for step in range(schedule.steps):
                done = schedule.done(step, time.monotonic() - start)
                if done >= 1:
                    break
                self.context.tick(done, f"Searching, {step * len(batch.labels):,} images")
                self._sample(learning=False)
                trainer.step(batch, done)
                if done >= WARM_UP and step % EVERY == 0:
                    self._learn(learner, step)
                batch = next(batches)

    def _learn(self, learner: torch.optim.Optimizer, step: int) -> None:
        """One step of the choices, on calibration images that the weights do not learn from."""
        images, labels = self.context.images, self.context.labels
        assert labels is not None
        self._sample(learning=True)
        place = torch.arange(step * BATCH, (step + 1) * BATCH) % len(images)
        loss = self._loss(self.net, Batch(images[place], labels[place]))
        gates = [decision.gates for decision in self.latency.decisions]
        pulls = torch.autograd.grad(loss, gates, allow_unused=True)
        learner.zero_grad()
        (PRESSURE * F.relu(self.latency.expected() / self.limit - 1)).backward()
        for decision, pull in zip(self.latency.decisions, pulls, strict=True):
            if pull is not None:
                decision.learn(pull)
        learner.step()

    def _sample(self, *, learning: bool) -> None:
        for decision in self.latency.decisions:
            decision.sample(self.context.generator, learning=learning)

    def _loss(self, model: nn.Module, batch: Batch) -> Tensor:
        logits = model(batch.images)
        with torch.no_grad():
            told = self.teacher(batch.images)
        return mixed(F.cross_entropy(logits, batch.labels), soft_logits(logits, told, TEMPERATURE), TEACHER)

    def found(self) -> tuple[tuple[int, Chosen], ...]:
        """The likeliest path, made to meet the target."""
        self.latency.tighten(self.limit)
        return tuple((index, block.chosen()) for index, block in self.latency.blocks.items())


@contextmanager
def _still(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Parameters that do not learn for a while."""
    for parameter in parameters:
        parameter.requires_grad = False
    yield
    for parameter in parameters:
        parameter.requires_grad = True


def roofline_seconds(plan: Plan, board: str) -> float:
    """Seconds of one image under the device's roofline."""
    found = roofline(plan, device(board)).seconds
    assert found is not None  # `supports` has asked
    return found.value


def _editable(block: Block) -> bool:
    return block.attention != "other" and block.heads > 0
