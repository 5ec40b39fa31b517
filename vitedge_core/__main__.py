"""The command line: `python -m vitedge_core VERB`, the same verbs as the pages without a browser.

Figures go to standard output, progress and complaints to standard error. Exit codes: 0 done, 2 a sentence says what is
wrong, 130 cancelled. What is heavy is imported by the verb that needs it, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from vitedge_core.errors import Cancelled, VitEdgeError, unknown
from vitedge_core.evidence import Quantity
from vitedge_core.recipe import MAX_JSON, Recipe, Scalar, Step

NAMES = {
    "params": "Parameters",
    "macs": "MACs",
    "weight_bytes": "Weights file",
    "dense_bytes": "The same in float32",
    "theoretical_macs": "MACs if zeros were skipped",
    "theoretical_bytes": "File if rows were sparse",
    "two_of_four_bytes": "File if zeros were 2:4",
    "peak_memory_bytes": "Peak memory",
    "measured_memory_bytes": "Peak memory, measured",
    "latency_seconds": "Latency",
    "accuracy": "Accuracy",
    "pointing_hits": "Points at object",
    "attention_on_object": "Attention on object",
    "attention_kept": "Attention kept",
}


class _Parser(argparse.ArgumentParser):
    """Complains in one sentence instead of printing its usage."""

    def error(self, message: str) -> NoReturn:
        raise VitEdgeError(f"{message[:1].upper()}{message[1:]}; see python -m {self.prog} --help.")


class _Progress:
    """One line on standard error: rewritten in a terminal, a new one every few seconds elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._last = time.monotonic()
        self._open = False

    def __call__(self, share: float, sentence: str) -> None:
        now = time.monotonic()
        if now - self._last < (0.1 if self._live else 5.0):
            return
        self._last = now
        line = f"{share:4.0%} {sentence}"
        if self._live:
            print(f"\r{line[:110]:<110}", end="", file=sys.stderr, flush=True)
            self._open = True
        else:
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the line empty for what follows."""
        if self._open:
            print(f"\r{'':<110}\r", end="", file=sys.stderr, flush=True)
            self._open = False


progress = _Progress()


# --- recipes ----------------------------------------------------------------------------------------------------------


def scalar(text: str) -> Scalar:
    """A knob's value as it is typed: true, false, a whole number, a number, else a text."""
    if text.lower() in {"true", "false"}:
        return text.lower() == "true"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def step_of(text: str) -> Step:
    """The step that `KEY:knob=value,knob=value` describes.

    Raises:
        VitEdgeError: It is written otherwise.
    """
    key, _, knobs = text.partition(":")
    words = _text_knobs(key.strip())
    params: dict[str, Scalar] = {}
    for part in filter(None, knobs.split(",")):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name:
            raise VitEdgeError(f"A step is written KEY:knob=value,knob=value, which {text[:80]!r} is not.")
        if name in params:
            raise VitEdgeError(f"The step {text[:80]!r} sets {name} twice.")
        params[name] = value if name in words else scalar(value)
    return Step.from_dict({"technique": key.strip(), "params": params})


def _text_knobs(key: str) -> set[str]:
    """Knobs of a method that hold a text, even one that looks like a number: "3" names a block."""
    import vitedge_core.techniques  # noqa: F401  fills the registry
    from vitedge_core import registry

    known = {cls.card.key: cls for cls in registry.techniques()}
    return {knob.name for knob in known[key].knobs() if isinstance(knob.default, str)} if key in known else set()


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """The recipe that the options describe.

    Raises:
        VitEdgeError: There is none, there are two, or it is damaged.
    """
    if arguments.recipe is None:
        if arguments.model is None:
            raise VitEdgeError("Name a model with --model NAME, or a recipe with --recipe FILE or --recipe TOKEN.")
        steps = [step_of(text).to_dict() for text in arguments.step]
        return Recipe.from_dict({"model": arguments.model, "steps": steps, "seed": arguments.seed or 0})
    if arguments.model is not None or arguments.step or arguments.seed is not None:
        raise VitEdgeError("A recipe comes from --recipe, or from --model, --step and --seed, but not from both.")
    return _stored_recipe(arguments.recipe)


def _stored_recipe(text: str) -> Recipe:
    path = Path(text)
    with suppress(OSError, ValueError):  # a token may be too long for a file's name
        if path.is_file():
            with path.open("rb") as file:
                return Recipe.from_json(file.read(MAX_JSON + 1))
    if text.endswith(".json"):
        raise VitEdgeError(f"There is no recipe file {text}.")
    return Recipe.from_token(text.rpartition("?r=")[2].partition("&")[0])


def _planned(recipe: Recipe, image: int | None = None) -> Any:
    """The recipe's plans; a step that cannot be carried out is an error here."""
    from vitedge_core.compress import plan_recipe

    planned = plan_recipe(recipe, image)
    if planned.problems:
        raise VitEdgeError(next(iter(planned.problems.values())))
    return planned


# --- output -----------------------------------------------------------------------------------------------------------


def _json(value: object) -> None:
    print(json.dumps(value, indent=2))


def _table(rows: Sequence[Sequence[str]]) -> None:
    """Rows in aligned columns, the first one a heading."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            print("  ".join("-" * width for width in widths))


def _compared(baseline: Mapping[str, Quantity], compressed: Mapping[str, Quantity]) -> None:
    """Baseline beside compressed, for people."""
    from vitedge_core.text.human import change, human, interval

    rows = [("", "Baseline", "Compressed", "Change", "95 % interval", "Evidence")]
    for name, after in compressed.items():
        before = baseline[name]
        rows.append(
            (NAMES.get(name, name), human(before), human(after), change(before, after), interval(after), after.evidence)
        )
    _table(rows)


# --- verbs ------------------------------------------------------------------------------------------------------------


def models(arguments: argparse.Namespace) -> None:
    """Models that can be picked."""
    from vitedge_core.models.load import has_weights
    from vitedge_core.models.zoo import cards

    found = [card for card in cards() if arguments.search.lower() in f"{card.name} {card.title} {card.family}".lower()]
    if arguments.json:
        _json({"models": [_model(card, has_weights(card.name)) for card in found]})
        return
    rows = [("Name", "Family", "Params", "MACs", "Top-1", "Weights here")]
    for card in found:
        top1 = f"{card.top1.value:.1%}" if card.top1 else ""
        here = "yes" if has_weights(card.name) else ""
        rows.append((card.name, card.family, f"{card.params / 1e6:.2f} M", f"{card.macs / 1e9:.3f} G", top1, here))
    _table(rows)


def _model(card: Any, weights: bool) -> dict[str, Any]:
    return {
        "name": card.name, "title": card.title, "family": card.family, "task": card.task, "params": card.params,
        "macs": card.macs, "image": card.image, "top1": card.top1.to_dict() if card.top1 else None,
        "licence": card.licence, "bundled": card.bundled, "weights": weights,
    }  # fmt: skip


def methods(arguments: argparse.Namespace) -> None:
    """The catalogue of methods with their knobs."""
    import vitedge_core.techniques  # noqa: F401  fills the registry
    from vitedge_core import registry

    if arguments.json:
        _json({"methods": [_method(cls) for cls in registry.techniques()]})
        return
    for cls in registry.techniques():
        print(f"{cls.card.key}: {cls.card.title} ({cls.card.family.value}; {cls.card.reference})")
        for knob in cls.knobs():
            allowed = ", ".join(knob.options) or (f"{knob.low:g} to {knob.high:g}" if knob.low is not None else "")
            print(f"    {knob.name} = {knob.default!r}{f'  [{allowed}]' if allowed else ''}  {knob.help}")


def _method(cls: Any) -> dict[str, Any]:
    names = ("name", "default", "label", "help", "low", "high", "step", "options")
    card = cls.card
    return {
        "key": card.key, "title": card.title, "family": card.family.value, "reference": card.reference,
        "arxiv": card.arxiv, "differs": list(card.differs), "measured": card.measured,
        "calibrates": card.calibrates, "trains": card.trains,
        "knobs": [{name: getattr(knob, name) for name in names} for knob in cls.knobs()],
    }  # fmt: skip


def cost(arguments: argparse.Namespace) -> None:
    """Parameters, MACs, bytes and memory from the shapes alone: all of it, by kind, by block, and at other sizes."""
    from vitedge_core.cost.report import cost as report
    from vitedge_core.experiments.costing import costing

    recipe = recipe_of(arguments)
    told = costing(recipe, arguments.image, arguments.batch, arguments.sizes, progress)
    progress.close()
    if arguments.json:
        _json({**told, **_on_devices(_planned(recipe, arguments.image), arguments)})
        return
    planned = _planned(recipe, arguments.image)
    before, after = (report(plan, arguments.batch) for plan in (planned.plans[0], planned.last))
    _compared(before.figures, after.figures)
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
        sizes = (_said(part[name], "byte") for name in ("weight_bytes", "read_bytes", "written_bytes"))
        counts = (_said(part["macs"], "MAC"), _said(part["params"], "parameter"))
        rows.append((part["label"], *counts, *sizes, f"{part['macs_per_byte']:.1f}"))
    _table(rows)


def _sizes(scaling: Mapping[str, Any]) -> None:
    """The costs at each input size, and why a size is missing."""
    rows = [("Image", "Tokens", "MACs", "Peak memory")]
    for each in scaling["sizes"]:
        memory = _said(each["peak_memory_bytes"]["value"], "byte")
        rows.append((f"{each['side']}", f"{each['tokens']:,}", _said(each["macs"]["value"], "MAC"), memory))
    _table(rows)
    powers = scaling["power_of_pixels"]
    grown = ", ".join(f"{kind} {power:.2f}" for kind, power in powers.items() if power is not None)
    if grown:
        print(f"Grows with the number of pixels to the power of: {grown}.")
    for sentence in scaling["problems"].values():
        print(sentence)


def _said(value: float, unit: str) -> str:
    from vitedge_core.text.human import human

    return human(Quantity.exact(value, unit, "a part of the total"))


def edge(arguments: argparse.Namespace) -> None:
    """Latencies on edge devices, predicted with an 80 % interval."""
    from vitedge_core.experiments.edge import predict_recipe, predict_rows, read_rows
    from vitedge_core.experiments.own_edge import board_rows

    if arguments.rows is not None:
        if arguments.model is not None or arguments.recipe is not None or arguments.device or arguments.batch != 1:
            raise VitEdgeError("Either --rows names the networks and devices, or a recipe and --device do.")
        found = predict_rows(read_rows(Path(arguments.rows)))
    else:
        plan = _planned(recipe_of(arguments)).last
        found, others = board_rows(plan, arguments.device, arguments.batch)
        if others or not arguments.device:
            found += predict_recipe(plan, others, arguments.batch)
    if arguments.json:
        _json(found)
        return
    rows = [["Device", "Runtime", "Precision", "Network", "Batch", "ms", "80 % interval"]]
    for row in found:
        names = [str(row[name]) for name in ("device", "runtime", "precision", "model", "batch")]
        known = "out_of_domain" not in row
        told = [f"{row['latency_ms']:g}", f"{row['low_ms']:g} to {row['high_ms']:g}"] if known else []
        rows.append([*names, *(told or ["", row["out_of_domain"]])])
    _table(rows)


def compress(arguments: argparse.Namespace) -> None:
    """Carry out a recipe and write the package."""
    from vitedge_core.compress import compress as carry_out
    from vitedge_core.compress import context_for
    from vitedge_core.experiments.evaluate import costs
    from vitedge_core.experiments.evaluation import plain
    from vitedge_core.export.package import free_folder, write
    from vitedge_core.measure.size import weight_bytes

    recipe = recipe_of(arguments)
    _planned(recipe)
    out = free_folder(Path(arguments.out))
    context = context_for(recipe, arguments.images)
    done = carry_out(recipe, context, progress)
    before, after = costs(done.plans[0]), costs(done.last)
    card = {"baseline": plain(before), "compressed": plain(after)}
    folder = write(done.model, done.last, recipe, out, card)
    after["weight_bytes"] = weight_bytes(folder)
    progress.close()
    if arguments.json:
        figures = {"baseline": plain(before), "compressed": plain(after)}
        _json({"recipe": recipe.to_dict(), "package": str(folder), **figures})
        return
    _compared(before, after)
    print(f"Written to {folder}.")


def measure(arguments: argparse.Namespace) -> None:
    """Accuracy and latency of a recipe beside its baseline."""
    recipe = recipe_of(arguments)
    _planned(recipe)
    found = _measured(recipe, arguments)
    progress.close()
    if arguments.json:
        _json(found.to_dict())
        return
    from vitedge_core.text.human import change, human, interval

    _compared(found.baseline, found.compressed)
    before, after = found.baseline["accuracy"], found.compressed["accuracy"]
    print(f"Accuracy changes by {change(before, after)} on {found.n:,} images, paired interval "
          f"{interval(found.difference, signed=True)}.")  # fmt: skip
    if found.ratio:
        print(f"Latency is {human(found.ratio)} that of the baseline, paired interval {interval(found.ratio)}.")
    for note in found.notes:
        print(note)


def _measured(recipe: Recipe, arguments: argparse.Namespace) -> Any:
    """The evaluation; timed as the pages do it, it is kept as a run, and not measured twice."""
    latency = not arguments.no_latency
    if not arguments.again and (arguments.threads, arguments.batch) == (1, 1):
        from vitedge_core.experiments.runs import measured

        return measured(
            recipe,
            arguments.images,
            arguments.limit,
            latency=latency,
            gaze=arguments.gaze,
            report=progress,
            origin="command line",
        )
    from vitedge_core.experiments.evaluate import evaluate

    return evaluate(
        recipe, arguments.images, arguments.limit, latency, gaze=arguments.gaze, report=progress,
        threads=arguments.threads, batch=arguments.batch,
    )  # fmt: skip


def broke(arguments: argparse.Namespace) -> None:
    """What a recipe breaks: layers that drift, answers that flip, attention that leaves the object."""
    from vitedge_core.experiments.sensitivity import sensitivity
    from vitedge_core.experiments.what_broke import plain, what_broke

    recipe = recipe_of(arguments)
    _planned(recipe)
    found = what_broke(recipe, arguments.images, arguments.limit, report=progress)
    trials = sensitivity(recipe.model, arguments.images, report=progress) if arguments.sensitivity else None
    progress.close()
    if arguments.json:
        _json({**found.to_dict(), "sensitivity": plain(trials)})
        return
    from vitedge_core.plots import agreement, divergence, object_gaze
    from vitedge_core.plots import sensitivity as map_of

    parts = [divergence.divergence_rows(found.divergence), agreement.flip_rows(found.agreement.flips)]
    parts += [agreement.class_rows(found.agreement)]
    parts += [object_gaze.look_rows(found.gaze, found.accuracy)] if found.gaze else []
    parts += [map_of.heat_rows(trials)] if trials else []
    for rows in parts:
        _table([tuple(rows[0]), *(tuple(map(str, row.values())) for row in rows)])
        print()
    print(" ".join((found.divergence.rule, found.why_no_gaze, *found.notes)))


def sweep(arguments: argparse.Namespace) -> None:
    """Measure a grid of recipes; what it finds stands in the store."""
    from vitedge_core.experiments.sweep import run_sweep

    summary = run_sweep(
        Path(arguments.space), arguments.study, arguments.storage, trials=arguments.trials, report=progress
    )
    progress.close()
    if arguments.json:
        _json(summary)
        return
    print(f"{summary['done']} of {summary['total']} recipes of {summary['study']} are measured.")
    for settings, problem in summary["problems"].items():
        print(f"{settings}: {problem}")


def distil(arguments: argparse.Namespace) -> None:
    """Train a student with and without a teacher, and keep it."""
    from vitedge_core.experiments.distil_job import run_job
    from vitedge_core.experiments.lesson import Settings

    names = ("teacher", "student", "temperature", "weight", "seconds", "start", "images", "seed")
    given = {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}
    result = run_job(Settings(**given), arguments.job, progress)
    progress.close()
    if arguments.json:
        _json(result.to_dict())
        return
    from vitedge_core.text.human import human, interval

    rows = [("", "Top-1", "95 % interval")]
    for name in ("teacher", "before", "alone", "taught", "gain"):
        quantity = getattr(result, name)
        if quantity is not None:
            rows.append((name, human(quantity, signed=name == "gain"), interval(quantity)))
    _table(rows)
    print(f"The student with the teacher is kept as {result.model}.")


def train(arguments: argparse.Namespace) -> None:
    """Train bundled models from their seeds into assets/weights."""
    from vitedge_core.experiments.pretrain import TRAININGS, shorter
    from vitedge_core.experiments.pretrain import train as run
    from vitedge_core.models.zoo import WEIGHTS

    for name in arguments.names or TRAININGS:
        if name not in TRAININGS:
            raise unknown("bundled model", name, TRAININGS)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(arguments.out or (scratch if arguments.check else WEIGHTS))
        for name in arguments.names or TRAININGS:
            training = shorter(TRAININGS[name], 640) if arguments.check else None
            path = run(name, folder, training, log=lambda line: print(line, file=sys.stderr, flush=True))
            print(f"{name} trains." if folder == Path(scratch) else path)


def data(arguments: argparse.Namespace) -> None:
    """Build the bundled images now instead of at their first use."""
    from vitedge_core.datasets import wild_digits
    from vitedge_core.datasets.sets import DIGITS, open_images
    from vitedge_core.storage import data_folder

    images = open_images(arguments.images or DIGITS)
    if images.key == DIGITS:
        for split, count in (("test", wild_digits.TEST_IMAGES), ("train", 256)):
            wild_digits.load(split, count)
    about = {
        "images": images.key, "title": images.title, "task": images.task, "digest": images.digest, "n": len(images),
        "classes": len(images.class_names), "skipped": images.skipped, "data_folder": str(data_folder()),
    }  # fmt: skip
    if arguments.json:
        _json(about)
        return
    print(f"{images.title}: {len(images):,} images of {len(images.class_names):,} classes, {images.skipped:,} skipped.")


def calibrate(arguments: argparse.Namespace) -> None:
    """Time layers and networks on this board, into a file for `devices --import`."""
    from vitedge_core.measure.calibrate import calibrate as measured
    from vitedge_core.storage import written_whole

    out = Path(arguments.out)
    found = measured(arguments.name, arguments.threads, seconds=arguments.seconds, report=progress)
    progress.close()
    with written_whole(out) as path:
        path.write_text(found.to_json(), encoding="utf-8")
    print(f"{found.name} is calibrated from {len(found.timings)} timings: import {out} with `devices --import`.")


def devices(arguments: argparse.Namespace) -> None:
    """The known devices; import a board's own file, or forget a board."""
    from vitedge_core.cost.own_devices import all_devices, keep, remove

    if arguments.add is not None:
        keep(_device_file(Path(arguments.add)))
    if arguments.remove is not None:
        remove(arguments.remove)
    known = all_devices()
    if arguments.json:
        _json({"devices": [_device(device) for device in known]})
        return
    rows: list[Sequence[str]] = [("Name", "Kind", "fp32 GMAC/s", "fp16", "int8", "GB/s", "W", "Figures")]
    for device in known:
        peaks = [f"{peak / 2e9:.4g}" if (peak := dict(device.peaks).get(bits)) else "" for bits in (32, 16, 8)]
        bandwidth = f"{device.bandwidth / 1e9:.3g}" if device.bandwidth else ""
        power = f"{device.power:g}" if device.power else ""
        how = "measured" if device.verified == "measured" else "published"
        rows.append((device.name, device.kind, *peaks, bandwidth, power, how))
    _table(rows)


def _device_file(path: Path) -> bytes:
    from vitedge_core.cost.calibration import MAX_BYTES

    if not path.is_file():
        raise VitEdgeError(f"There is no device file {path}.")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _device(device: Any) -> dict[str, Any]:
    return {
        "name": device.name, "processor": device.processor, "kind": device.kind,
        "operations_per_second": {str(bits): peak for bits, peak in device.peaks},
        "bytes_per_second": device.bandwidth, "memory_bytes": list(device.memory), "power_watts": device.power,
        "source": device.source, "verified": device.verified,
    }  # fmt: skip


# --- the command line itself ------------------------------------------------------------------------------------------

Verb = Callable[[argparse.Namespace], None]


def _at_least_one(text: str) -> int:
    with suppress(ValueError):
        if int(text) >= 1:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")


def _sides(text: str) -> tuple[int, ...]:
    with suppress(ValueError):
        return tuple(int(side) for side in text.split(","))
    raise argparse.ArgumentTypeError(f"{text!r} is no list of sizes such as 224,384")


def _add_recipe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="NAME", help="a bundled model, one of your own, or any timm classifier")
    parser.add_argument(
        "--step", action="append", default=[], metavar="KEY:knob=value,...", help="repeatable; carried out in order"
    )
    parser.add_argument("--seed", type=int, help="of everything random (0)")
    parser.add_argument("--recipe", metavar="FILE|TOKEN", help="a recipe file, or the token of a link")


def _add_costs(verb: Callable[..., argparse.ArgumentParser]) -> None:
    own = verb(cost, recipe=True)
    own.add_argument("--image", type=_at_least_one, metavar="N", help="side of the input in pixels")
    own.add_argument("--device", metavar="NAME", help="with --json: its roofline too; see the verb devices")
    own.add_argument("--float-bits", type=int, choices=(32, 16), default=32, help="how wide it keeps floats (32)")
    own.add_argument("--batch", type=_at_least_one, default=1, metavar="N", help="images in the inference (1)")
    own.add_argument("--sizes", type=_sides, default=(), metavar="N,N,...", help="also the costs at these sizes")
    own = verb(edge, recipe=True)
    own.add_argument("--rows", metavar="FILE.csv", help="columns device, runtime, precision, model, batch")
    own.add_argument("--device", action="append", default=[], metavar="NAME", help="repeatable (all)")
    own.add_argument("--batch", type=_at_least_one, default=1, metavar="N", help="images in an inference (1)")


def _add_boards(verb: Callable[..., argparse.ArgumentParser]) -> None:
    own = verb(calibrate, reports=False)
    own.add_argument("--out", required=True, metavar="FILE.json")
    own.add_argument("--name", default="", help="what the device is called (its processor)")
    own.add_argument("--threads", type=_at_least_one, default=1, metavar="N", help="of PyTorch (1)")
    own.add_argument("--seconds", type=float, default=75.0, metavar="S", help="of timing (75)")
    own = verb(devices)
    own.add_argument("--import", dest="add", metavar="FILE.json", help="add the board that wrote this file")
    own.add_argument("--remove", metavar="NAME", help="forget a board that was imported")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="vitedge_core", description="Compose compression recipes for vision transformers.")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)

    def verb(run: Verb, *, reports: bool = True, recipe: bool = False) -> argparse.ArgumentParser:
        sentence = (run.__doc__ or "").splitlines()[0]
        own = verbs.add_parser(run.__name__, help=sentence, description=sentence)
        own.set_defaults(run=run)
        if recipe:
            _add_recipe(own)
        if reports:
            own.add_argument("--json", action="store_true", help="print one JSON object")
        return own

    verb(models).add_argument("--search", default="", metavar="TEXT", help="only names that contain it")
    verb(methods)
    _add_costs(verb)
    images = "a folder of class folders, or digits"
    own = verb(compress, recipe=True)
    own.add_argument("--out", required=True, metavar="DIR", help="folder of the package")
    own.add_argument("--images", metavar="DIR|digits", help=f"to calibrate and train on: {images}")
    own = verb(measure, recipe=True)
    own.add_argument("--images", metavar="DIR|digits", help=images)
    own.add_argument("--limit", type=_at_least_one, metavar="N", help="images at most (all)")
    own.add_argument("--no-latency", action="store_true", help="accuracy only")
    own.add_argument("--again", action="store_true", help="measure even what is known, and keep nothing")
    own.add_argument("--gaze", action="store_true", help="where both look, too, if the images have masks")
    own.add_argument("--threads", type=_at_least_one, default=1, metavar="N", help="of the timed passes (1)")
    own.add_argument("--batch", type=_at_least_one, default=1, metavar="N", help="images in a timed pass (1)")
    own = verb(broke, recipe=True)
    own.add_argument("--images", metavar="DIR|digits", help=images)
    own.add_argument("--limit", type=_at_least_one, default=500, metavar="N", help="images at most (500)")
    own.add_argument("--sensitivity", action="store_true", help="try every head, block and number of bits, too")
    own = verb(sweep)
    own.add_argument("space", metavar="SPACE.json", help="recipe and grid")
    own.add_argument("--study", required=True, metavar="NAME")
    own.add_argument("--storage", metavar="URL", help="database of the runs")
    own.add_argument("--trials", type=_at_least_one, metavar="N", help="recipes at most in this sitting")
    own = verb(distil)
    own.add_argument("--teacher", required=True, metavar="NAME", help="a model that was trained on the digits")
    own.add_argument("--student", required=True, metavar="NAME", help="a model to train, from scratch any of timm")
    own.add_argument("--temperature", type=float, metavar="T", help="1 to 20 (2)")
    own.add_argument("--weight", type=float, metavar="SHARE", help="of the loss that comes from the teacher (0.7)")
    own.add_argument("--seconds", type=float, metavar="S", help="training time of both runs together (120)")
    own.add_argument("--start", metavar="weights|scratch", help="train the student on, or from nothing (weights)")
    own.add_argument("--images", type=int, metavar="N", help="images at most for each run")
    own.add_argument("--seed", type=int, help="of everything random (0)")
    own.add_argument("--job", default="", metavar="NAME", help="name under which the pages find it")
    _add_boards(verb)
    own = verb(train, reports=False)
    own.add_argument("names", nargs="*", metavar="NAME", help="bundled models (all)")
    own.add_argument("--check", action="store_true", help="a few steps only, to see that it runs")
    own.add_argument(
        "--out", metavar="DIR", help="folder of the weights (assets/weights; with --check nothing is kept)"
    )
    verb(data).add_argument("--images", metavar="DIR|digits", help=images)
    return parser


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    first = next((word for word in arguments if not word.startswith("-")), None)
    known = ("models", "methods", "cost", "edge", "compress", "measure", "broke", "sweep", "distil", "calibrate",
             "devices", "train", "data")  # fmt: skip
    if first is not None and first not in known:
        raise unknown("verb", first, known)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; returns the exit code."""
    try:
        parsed = _parsed(sys.argv[1:] if arguments is None else arguments)
        parsed.run(parsed)
        sys.stdout.flush()
    except (KeyboardInterrupt, Cancelled):
        return _complain("Cancelled.", 130)
    except VitEdgeError as error:
        return _complain(str(error), 2)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _complain(f"{error.strerror or error}: {error.filename or 'the disk'}.", 2)
    except Exception as error:
        if os.environ.get("VITEDGE_DEBUG"):
            raise
        sentence = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        return _complain(f"Something went wrong that should not ({sentence}); VITEDGE_DEBUG=1 shows where.", 2)
    return 0


def _complain(sentence: str, code: int) -> int:
    progress.close()
    print(sentence, file=sys.stderr)
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # `kill` ends as Ctrl-C does
    sys.exit(main())
