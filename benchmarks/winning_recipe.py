"""The recipes that win: real int8 latency of what they leave of a model against float32 eager PyTorch and OpenVINO.

For the bundled base model: the recipes of `experiments/winners.py`, quantised by NNCF on calibration images and run by
OpenVINO, and beside them the app's own int8 engine. Limits: 12x over eager, 4x over OpenVINO float32, at most 1 point
lost on the 2,000 test images (paired), files an eighth of the size. For DeiT-Tiny, where VITEDGE_WEIGHTS and
VITEDGE_IMAGES name its weights and ImageNet images, what is possible without training. Batch 1, one thread, processor
time of interleaved rounds; ratios are medians of ratios within a round, their 95 % intervals a bootstrap over the
rounds. Arguments: "digits" or "deit", for one of them.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vitedge_core.backends.base import Source
from vitedge_core.backends.openvino import OpenVinoInt8, overflow_fix
from vitedge_core.compress import compress, context_for, default_images, load_trained
from vitedge_core.convert.engine_form import for_engines
from vitedge_core.datasets.sets import DIGITS, LabelledImages, open_images
from vitedge_core.errors import VitEdgeError
from vitedge_core.experiments.winners import WINNERS
from vitedge_core.measure.accuracy import Outcome, difference, evaluate
from vitedge_core.models import trained
from vitedge_core.models.load import preprocessing
from vitedge_core.models.trace import trace
from vitedge_core.models.zoo import WEIGHTS as BUNDLED
from vitedge_core.plan import Plan
from vitedge_core.recipe import Recipe, Step
from vitedge_core.text.human import human, interval

ENGINE = OpenVinoInt8()
ROUNDS, PASSES = 60, 10
OVER_EAGER, OVER_OPENVINO, MOST_LOST, SMALLER = 12.0, 4.0, 0.01, 8.0
DEIT = "deit_tiny_patch16_224"
UNTRAINED = {
    "int8 alone": (),
    "tome r=8": (Step.of("tome", r=8),),
    "tome r=64 in block 3": (Step.of("tome", r=64, schedule="one block", block=3),),
    "tome r=64 in block 5": (Step.of("tome", r=64, schedule="one block", block=5),),
    "5 % of neurons, r=64 in block 5": (
        Step.of("head_mlp_taylor", ratio=0.05, heads=False),
        Step.of("tome", r=64, schedule="one block", block=5),
    ),
}
EAGER, FLOAT, CALL = "eager float32", "OpenVINO float32", "a call that does nothing"
Samples = NDArray[np.float64]
_PRODUCTS = {"MatMul", "ScaledDotProductAttention"}
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class Built:
    """A graph of OpenVINO ready to run: `run` takes one prepared image [1, 3, height, width] and gives logits [1, K].

    weights, graph: bytes of its two files.
    """

    run: Run
    weights: int
    graph: int
    compiled: Any


class Answering(nn.Module):
    """A runner as `evaluate` wants it: an image at a time."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, height, width] -> [B, K]."""
        return torch.cat([torch.from_numpy(self.run(image[None].numpy()).copy()) for image in images])


def graph(model: nn.Module, example: Tensor) -> Any:
    """OpenVINO's graph of a model, by way of ONNX."""
    import openvino

    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(model, (example,), path, dynamo=True, verbose=False, external_data=False)
        return openvino.convert_model(path)


def int8(model: nn.Module, images: Tensor, smooth: float | None) -> Any:
    """Linear layers quantised by NNCF; `smooth` is the alpha of SmoothQuant, None leaves it out.

    Products of two activations stay float. Those of token merging compare and add up tokens, and rounding would pair
    others; those of attention take longer with rounding before and after them than they save. Ranges are the extremes
    over all calibration images: with NNCF's own choice for transformers, the mean of each image's extremes, the logits
    of the six narrow blocks are 7.2 % off on held-out compositions of the training split, with the extremes 1.9 %.
    """
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    nncf.set_log_level(40)
    floating = graph(for_engines(model), images[:1])
    products = [op for op in floating.get_ops() if op.get_type_name() in _PRODUCTS and not _has_weight(op)]
    alpha = -1.0 if smooth is None else smooth
    return nncf.quantize(
        floating,
        nncf.Dataset([image[None].numpy() for image in images]),
        subset_size=len(images),
        model_type=nncf.ModelType.TRANSFORMER,
        ignored_scope=nncf.IgnoredScope(names=[op.get_friendly_name() for op in products]),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=overflow_fix(),
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
            smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=alpha, convolution=-1.0),
        ),
    )


def _has_weight(op: Any) -> bool:
    """Whether one factor of a product is a constant, perhaps turned or converted on its way."""
    factor = op.input_value(1).get_node()
    while factor.get_type_name() in {"Transpose", "Convert", "Reshape"}:
        factor = factor.input_value(0).get_node()
    return factor.get_type_name() == "Constant"


def build(model: Any, rest: str, *, profiled: bool = False) -> Built:
    """Compile for one thread; `rest` is the precision of what is not int8."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        openvino.save_model(model, Path(folder) / "model.xml", compress_to_fp16=False)
        weights, text = ((Path(folder) / name).stat().st_size for name in ("model.bin", "model.xml"))
    asked = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": rest}
    compiled = openvino.Core().compile_model(model, "CPU", {**asked, **({"PERF_COUNT": True} if profiled else {})})
    request = compiled.create_infer_request()
    inside, outside = request.get_input_tensor(0).data, request.get_output_tensor(0).data

    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        np.copyto(inside, image)
        request.infer()
        return outside

    return Built(run, weights, text, request if profiled else compiled)


def engine(one: Contender, calibration: Tensor) -> Run:
    """The app's own engine, as it comes."""
    source = Source(one.model, one.plan, calibration[:1], lambda: calibration)
    runner = ENGINE.build(source).open(threads=1, batch=1)
    return lambda image: runner(torch.from_numpy(image)).numpy()


def eager(model: nn.Module) -> Run:
    """The model in PyTorch."""

    def run(image: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return model(torch.from_numpy(image)).numpy()

    return run


def stopwatch(runs: Mapping[str, Run], image: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """Processor seconds of a pass, [ROUNDS] for each, taken in turn after a warm-up."""
    for run in runs.values():
        for _ in range(2 * PASSES):
            run(image)
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            run(image)  # brings back into the caches what the others drove out
            start = time.process_time()
            for _ in range(PASSES):
                run(image)
            samples[name].append((time.process_time() - start) / PASSES)
    return {name: np.array(values) for name, values in samples.items()}


def ratio(slow: NDArray[np.float64], fast: NDArray[np.float64]) -> tuple[float, float, float]:
    """Median of the ratios within rounds, and its interval."""
    ratios = slow / fast
    drawn = np.random.default_rng(0).choice(ratios, (2_000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return float(np.median(ratios)), float(low), float(high)


def time_by_kind(model: Any, rest: str, image: NDArray[np.float32]) -> list[tuple[str, int, float]]:
    """Kind of operation, how many, and seconds of a pass: medians of 100 passes as the engine reports them."""
    built = build(model, rest, profiled=True)
    seconds: dict[str, list[float]] = {}
    kinds: dict[str, str] = {}
    for number in range(120):
        built.run(image)
        for node in built.compiled.get_profiling_info():
            if number >= 20 and node.status == node.Status.EXECUTED:
                kinds[node.node_name] = node.node_type
                seconds.setdefault(node.node_name, []).append(node.real_time.total_seconds())
    found: dict[str, tuple[int, float]] = {}
    for name, values in seconds.items():
        count, total = found.get(kinds[name], (0, 0.0))
        found[kinds[name]] = (count + 1, total + float(np.median(values)))
    return sorted(((kind, *value) for kind, value in found.items()), key=lambda row: -row[2])


def nothing(example: Tensor) -> Any:
    """A graph that only averages the image: what a call costs by itself."""
    import openvino
    from openvino import opset13

    image = opset13.parameter(list(example.shape), np.float32)
    made: Any = openvino.Model  # whose own stubs disagree with each other
    return made([opset13.reduce_mean(image, opset13.constant([1, 2, 3]))], [image], "nothing")


def told(times: tuple[float, float, float]) -> str:
    """A ratio with its interval."""
    return f"{times[0]:6.2f}x ({times[1]:.2f} to {times[2]:.2f})"


@dataclass(frozen=True)
class Contender:
    """A compressed model, still float32, and its plan."""

    title: str
    model: nn.Module
    plan: Plan


@dataclass(frozen=True)
class Arena:
    """Where contenders for a model meet it.

    images: to measure accuracy on. calibration: [n, 3, height, width]. file: the base model's float32 weights. smooth:
    alpha of SmoothQuant, None for none. rest: the precision of what is not int8.
    """

    name: str
    images: LabelledImages
    calibration: Tensor
    file: Path
    smooth: float | None
    rest: str = "bf16"


def against(arena: Arena, contenders: list[Contender]) -> None:
    """Print speed, accuracy and size of int8 results beside the float32 base in eager PyTorch and in OpenVINO."""
    base, example = load_trained(arena.name), arena.calibration[:1]
    graphs = {one.title: int8(one.model, arena.calibration, arena.smooth) for one in contenders}
    built = {title: build(model, arena.rest) for title, model in graphs.items()}
    plain = {f"{one.title}, {ENGINE.key}": engine(one, arena.calibration) for one in contenders}
    runs = {EAGER: eager(base), FLOAT: build(graph(base, example), "f32").run, CALL: build(nothing(example), "f32").run}
    samples = stopwatch({**runs, **plain, **{title: one.run for title, one in built.items()}}, example.numpy())
    print(f"{'processor time of a pass':34}{'ms':>8}   {'over eager float32':27}over OpenVINO float32")
    for title, values in samples.items():
        print(f"{title:34}{1e3 * np.median(values):8.3f}  {told(ratio(samples[EAGER], values)):27}"
              f"{told(ratio(samples[FLOAT], values))}", flush=True)  # fmt: skip
    before = evaluate(base, arena.images, preprocessing(arena.name))
    print(f"\n{arena.name}: {human(before.top1)} ({interval(before.top1)}) of {before.n:,} images, eager float32")
    for one in contenders:
        verdict(arena, one, built[one.title], before, samples)
    where_it_goes(arena, contenders[-1].title, graphs, samples)


def where_it_goes(arena: Arena, title: str, graphs: Mapping[str, Any], samples: Mapping[str, Samples]) -> None:
    """Print the time of one result by kind of operation."""
    rows = time_by_kind(graphs[title], arena.rest, arena.calibration[:1].numpy())
    print(f"\nWhere the time of {title} goes")
    for kind, count, seconds in (*rows, ("all", sum(row[1] for row in rows), sum(row[2] for row in rows))):
        print(f"  {kind:30}{count:4}{1e6 * seconds:8.0f} us")
    print(f"  {CALL:34}{1e6 * np.median(samples[CALL]):8.0f} us")


def verdict(arena: Arena, one: Contender, built: Built, before: Outcome, samples: Mapping[str, Samples]) -> None:
    """Print accuracy and size of one result, and which limits it keeps."""
    prepared, whole = preprocessing(arena.name), trace(arena.name)
    floating, real = (evaluate(model, arena.images, prepared) for model in (one.model, Answering(built.run)))
    change = difference(before, real)
    low, high = change.low or 0.0, change.high or 0.0
    same = float((floating.predictions == real.predictions).float().mean())
    size = arena.file.stat().st_size
    print(
        f"\n{one.title}: {one.plan.macs / 1e6:.1f} of {whole.macs / 1e6:.1f} MMAC, "
        f"{one.plan.params:,} of {whole.params:,} parameters"
    )
    print(
        f"  float32 {human(floating.top1)}, int8 {human(real.top1)} ({interval(real.top1)}); same answer on {same:.1%}"
    )
    print(f"  int8 against the base {100 * change.value:+.2f} points ({100 * low:+.2f} to {100 * high:+.2f}), paired")
    smaller, together = size / built.weights, size / (built.weights + built.graph)
    print(f"  weights (OpenVINO's .bin) {built.weights:,} bytes, the base's {size:,}: {smaller:.1f}x smaller; "
          f"with the graph (.xml, {built.graph:,} bytes) {together:.1f}x")  # fmt: skip
    kept = {
        f"{OVER_EAGER:g}x over eager": ratio(samples[EAGER], samples[one.title])[0] >= OVER_EAGER,
        f"{OVER_OPENVINO:g}x over OpenVINO": ratio(samples[FLOAT], samples[one.title])[0] >= OVER_OPENVINO,
        f"{100 * MOST_LOST:g} point lost at most": change.value >= -MOST_LOST,
        "the same for the whole interval": low >= -MOST_LOST,
        f"weights {SMALLER:g}x smaller": smaller >= SMALLER,
    }
    print("  " + "; ".join(f"{limit}: {'kept' if met else 'missed'}" for limit, met in kept.items()), flush=True)


def digits() -> None:
    """The base model itself, and the winners whose training has been done."""
    name = "digits_vit_base"
    images = open_images(DIGITS)
    contenders = [Contender("the base itself", load_trained(name), trace(name))]
    for title, recipe in WINNERS.items():
        if (trained.FOLDER / f"{title}.json").is_file():
            made = compress(recipe)
            contenders.append(Contender(title, made.model, made.last))
        else:
            print(f"{title} is not trained: python -m vitedge_core train {title}")
    calibration = images.calibration(preprocessing(name)).images
    against(Arena(name, images, calibration, BUNDLED / f"{name}.safetensors", smooth=None), contenders)


def deit() -> None:
    """What needs no training data, on DeiT-Tiny."""
    where, folder = default_images(DEIT), os.environ.get("VITEDGE_WEIGHTS")
    if not where or not folder:
        print("Set VITEDGE_WEIGHTS and VITEDGE_IMAGES for DeiT-Tiny.")
        return
    images, contenders = open_images(where), []
    for title, steps in UNTRAINED.items():
        recipe = Recipe(DEIT, steps)
        made = compress(recipe, context_for(recipe, images))
        contenders.append(Contender(title, made.model, made.last))
    calibration = images.calibration(preprocessing(DEIT)).images
    file = next(Path(folder).glob(f"{DEIT}*.safetensors"))
    against(Arena(DEIT, images.unseen(), calibration, file, smooth=None), contenders)


def main(which: tuple[str, ...]) -> None:
    torch.set_num_threads(1)
    for key, part in (("digits", digits), ("deit", deit)):
        if key in (which or ("digits", "deit")):
            print(f"== {key}")
            try:
                part()
            except VitEdgeError as error:
                print(error)


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
