"""The verb that costs a recipe by its shapes alone."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from vitedge_core.cli.asking import Adder, at_least_one, planned_of, recipe_of, sides
from vitedge_core.cli.telling import print_compared, print_json, print_table, progress, said


def cost(arguments: argparse.Namespace) -> None:
    """Parameters, MACs, bytes and memory from the shapes alone: all of it, by kind, by block, and at other sizes."""
    from vitedge_core.cost.report import cost as report
    from vitedge_core.experiments.costing import costing

    recipe = recipe_of(arguments)
    told = costing(recipe, arguments.image, arguments.batch, arguments.sizes, progress)
    progress.close()
    if arguments.json:
        print_json({**told, **_on_devices(planned_of(recipe, arguments.image), arguments)})
        return
    planned = planned_of(recipe, arguments.image)
    before, after = (report(plan, arguments.batch) for plan in (planned.plans[0], planned.last))
    print_compared(before.figures, after.figures)
    print()
    _kinds(told["by_kind"]["compressed"])
    if "scaling" in told:
        print()
        _sizes(told["scaling"])
    if not planned.last.exact:
        print("An estimate: what a step removes depends on the weights; measure or compress gives the exact figures.")


def _on_devices(planned: Any, arguments: argparse.Namespace) -> dict[str, Any]:
    """Energy by published costs and, of a device that is named, the roofline; baseline and compressed."""
    from vitedge_core.cost.energy import energy
    from vitedge_core.cost.own_devices import any_device
    from vitedge_core.cost.roofline import roofline

    plans = {"baseline": planned.plans[0], "compressed": planned.last}
    bits = arguments.float_bits
    figures = {"energy": {name: energy(plan, bits).to_dict() for name, plan in plans.items()}}
    if arguments.device is not None:
        device = any_device(arguments.device)
        figures["roofline"] = {name: roofline(plan, device, bits).to_dict() for name, plan in plans.items()}
    return figures


def _kinds(parts: Sequence[Mapping[str, Any]]) -> None:
    """What each kind of operation of the compressed model takes."""
    rows: list[Sequence[str]] = [("Kind", "MACs", "Parameters", "Weights", "Read", "Written", "MAC per byte")]
    for part in parts:
        sizes = (said(part[name], "byte") for name in ("weight_bytes", "read_bytes", "written_bytes"))
        counts = (said(part["macs"], "MAC"), said(part["params"], "parameter"))
        rows.append((part["label"], *counts, *sizes, f"{part['macs_per_byte']:.1f}"))
    print_table(rows)


def _sizes(scaling: Mapping[str, Any]) -> None:
    """The costs at each input size, and why a size is missing."""
    rows = [("Image", "Tokens", "MACs", "Peak memory")]
    for each in scaling["sizes"]:
        memory = said(each["peak_memory_bytes"]["value"], "byte")
        rows.append((f"{each['side']}", f"{each['tokens']:,}", said(each["macs"]["value"], "MAC"), memory))
    print_table(rows)
    powers = scaling["power_of_pixels"]
    grown = ", ".join(f"{kind} {power:.2f}" for kind, power in powers.items() if power is not None)
    if grown:
        print(f"Grows with the number of pixels to the power of: {grown}.")
    for sentence in scaling["problems"].values():
        print(sentence)


def add(verb: Adder) -> None:
    """These verbs and their options."""
    own = verb(cost, recipe=True)
    own.add_argument("--image", type=at_least_one, metavar="N", help="side of the input in pixels")
    own.add_argument("--device", metavar="NAME", help="with --json: its roofline too; see the verb devices")
    own.add_argument("--float-bits", type=int, choices=(32, 16), default=32, help="how wide it keeps floats (32)")
    own.add_argument("--batch", type=at_least_one, default=1, metavar="N", help="images in the inference (1)")
    own.add_argument("--sizes", type=sides, default=(), metavar="N,N,...", help="also the costs at these sizes")
