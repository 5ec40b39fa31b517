"""What finding out takes, and which map points best, on the bundled base model.

Prints: seconds of the sensitivity map (limit 60), how much sharing what stands before a changed block saves, seconds of
the object figures on 500 images, and the pointing game of every map that could have been taken.

Seconds are of the processor on one thread, so that other programs do not count.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from torch import Tensor, nn

from vitedge_core.compress import context_for, load_trained
from vitedge_core.datasets.sets import open_images
from vitedge_core.evidence import wilson
from vitedge_core.experiments.looking import looked
from vitedge_core.experiments.sensitivity import CALIBRATION, IMAGES, sensitivity
from vitedge_core.experiments.trials import BlockTrials, Change, roundings
from vitedge_core.explain.attention import attention_map, rollout_map
from vitedge_core.explain.observer import observer, shell_of
from vitedge_core.explain.relevance import relevance_map
from vitedge_core.measure.pointing import area, hits, mass_inside
from vitedge_core.models.load import preprocessing
from vitedge_core.models.trace import trace
from vitedge_core.recipe import Recipe
from vitedge_core.surgery.replace import put
from vitedge_core.techniques.base import Context

MODEL = "digits_vit_base"
MAPPED = 500


def map_of_sensitivity() -> None:
    start = time.process_time()
    found = sensitivity(MODEL)
    seconds = time.process_time() - start
    print(f"sensitivity map: {len(found.cells)} trials on {found.n} images in {seconds:.1f} s (limit 60 s)")


def whole(trials: BlockTrials, place: int, change: Change) -> Tensor:
    """The trial without any sharing: the whole network with the changed block."""
    shell: nn.Module = shell_of(trials.network)
    put(shell, trials.handles[place].path, trials.changed(place, change))
    with torch.no_grad():
        return torch.cat([shell(images) for images in trials.shown])


def sharing() -> None:
    """The same trials, cut short and not, in turns."""
    images, wants = open_images("digits"), preprocessing(MODEL)
    network = load_trained(MODEL)
    context = Context(context_for(Recipe(MODEL)).images[:CALIBRATION])
    rounding, _ = roundings(trace(MODEL), network, context)
    shown = [batch.images for batch in images.batches(wants, IMAGES)]
    trials = BlockTrials(network, shown, context, rounding)
    trials.untouched()
    spent = {"cut short": 0.0, "whole": 0.0}
    worst = 0.0
    for place, change in trials.all():
        if change.kind != "bits":
            start = time.process_time()
            short = trials.run(place, change)
            middle = time.process_time()
            long = whole(trials, place, change)
            spent["cut short"] += middle - start
            spent["whole"] += time.process_time() - middle
            worst = max(worst, float((short - long).abs().max()))
    ratio = spent["whole"] / spent["cut short"]
    print(
        f"  sharing what stands before the change: {ratio:.2f}x faster than whole networks, logits within {worst:.1e}"
    )


def object_figures() -> None:
    model, images, wants = load_trained(MODEL), open_images("digits"), preprocessing(MODEL)
    start = time.process_time()
    looked(model, images, wants, MAPPED, 0)
    middle = time.process_time()
    observe = observer(model)
    few = next(iter(images.batches(wants, 64))).images
    for image in few:
        rollout_map(observe(image[None], None))
    single = (time.process_time() - middle) / len(few) * MAPPED
    print(f"pointing game and attention on the object, {MAPPED} images: {middle - start:.1f} s; "
          f"one image after another {single:.1f} s, {single / (middle - start):.1f}x")  # fmt: skip
    start = time.process_time()
    looked(model, images, wants, 64, 64)
    print(f"  with deletion and insertion: {(time.process_time() - start) / 64 * MAPPED:.0f} s for {MAPPED} images")


def which_map_points() -> None:
    """Pointing game of every map, on the first 500 test images."""
    model, images, wants = load_trained(MODEL), open_images("digits"), preprocessing(MODEL)
    observe = observer(model)
    maps: dict[str, list[Tensor]] = {}
    masks = []
    for batch in images.batches(wants, MAPPED):
        assert batch.masks is not None
        masks.append(batch.masks)
        for image in batch.images:
            toward = int(observe(image[None], None).logits.argmax())
            seen = observe(image[None], toward)
            found = {f"block {b + 1}, mean of heads": attention_map(seen, b) for b in range(len(seen.blocks))}
            found |= {"rollout": rollout_map(seen), "gradient-weighted rollout": relevance_map(seen)}
            for name, one in found.items():
                maps.setdefault(name, []).append(one)
    objects = torch.cat(masks)
    chance = float(area(objects).mean())
    print(f"pointing game on {len(objects)} images, chance {chance:.1%}:")
    for name, ones in maps.items():
        together = torch.stack(ones)
        right = int(hits(together, objects).sum())
        low, high = wilson(right, len(objects))
        inside = float(mass_inside(together, objects).mean())
        print(f"  {name:27} hits {right / len(objects):6.1%} ({low:.1%} to {high:.1%}), on the object {inside:.1%}")


def main() -> None:
    torch.set_num_threads(1)
    map_of_sensitivity()
    sharing()
    object_figures()
    which_map_points()


if __name__ == "__main__":
    main()
