"""The prose of the Sources page, as markdown."""

INTERVALS = """
Every interval is a 95 % interval unless its source says otherwise: Wilson's for an accuracy, Newcombe's paired one for
a difference of accuracies, a bootstrap over interleaved rounds for a latency.
"""

COUNTING = """
- **MACs** are multiply-accumulates of one image: matrix products, convolutions, and the two products inside
  attention. One MAC is two FLOPs. Norms, activations and additions are not counted, as is usual.
- **Published figures** of MACs come in two conventions, with the products inside attention and without them, and many
  papers call MACs FLOPs. Those of the zoo's table were counted here, with attention, one image at the stated size.
- **Size on disk** is the weights file: integers packed at their bits, their scales, the rest in float32. The package
  that you download has this size; the tests hold the prediction to within 1 % of the file.
- **Zeros are not speed.** Weights pruned one by one are zeros that a dense file still stores and a dense kernel still
  multiplies. What a sparse format or engine would make of them are other quantities with other names.
- **Peak memory** adds the weights to the most activations that are alive at once, found by walking through the
  operations in their order, and to what a convolution's kernel copies meanwhile: PyTorch on a CPU, one thread.
- **Latency** is the median over passes of one image, baseline and compressed in turn in one process, after a warm-up.
  Values of fewer bits are only rounded and still computed in float here, so no speed-up is claimed for them.
"""

# MACs of DeiT-Tiny at 224 pixels by what counts them; measured anew by the tests (fvcore 0.1.5, PyTorch 2.14)
COUNTERS = {
    "ours": 1_253_683_200,
    "torch": 1_253_683_200,
    "torch, fused on a CPU": 1_074_851_328,
    "fvcore": 1_079_579_328,
    "fvcore, taught": 1_258_411_200,
    "fvcore, taught, products": 1_253_683_200,
}
_WHY = {
    "ours": ("VitEdge", "Matrix products and convolutions that really ran, fused attention included."),
    "torch": ("PyTorch's FlopCounterMode, halved", "The same, once attention is computed unfused or on a GPU."),
    "torch, fused on a CPU": (
        "PyTorch's FlopCounterMode on a CPU, as it is",
        "Up to PyTorch 2.14 it does not know the CPU's fused attention: both products inside attention are lost.",
    ),
    "fvcore": (
        "fvcore, as it is",
        "It has no handler for fused attention either and says so in the log only; and it adds the norms.",
    ),
    "fvcore, taught": (
        "fvcore with a handler for fused attention",
        "Five operations for each number that a LayerNorm handles: 4.7 million that no multiplier does.",
    ),
    "fvcore, taught, products": (
        "the same without norms, pooling and resizing",
        "Equal to the other two, to the unit.",
    ),
}

COUNTERS_LEAD = """
Our counts are compared with two referees that share nothing with them, PyTorch's FLOP counter and fvcore, for every
model of the zoo. Taken as they come, the two differ from each other. DeiT-Tiny at 224 pixels:
"""
COUNTERS_MORE = """
- **Fused attention** holds from 0.01 % (CaiT, whose blocks but two compute attention in steps) to 37 % (DINOv2 at 518
  pixels) of the products of the 48 models of the zoo that use it, 14.3 % of a DeiT-Tiny: that share is lost where a
  counter does not know the operator.
- **What fvcore counts beside products**, in the zoo: LayerNorm, five for each number, up to 1.6 % of the products
  (EdgeNeXt-XXS); BatchNorm, two for each number, up to 3.9 % (EfficientViT-B0); GroupNorm up to 1.1 % (ViT-S R26);
  resizing up to 0.4 % (EfficientFormerV2-S0); average pooling up to 0.05 %. Activations, additions and softmax it
  leaves out.
- Without these, both referees and our count are equal to the unit for all 91 models, at their own size, at another one
  and in batches; `make bench` prints the table.
"""


def counter_rows() -> list[dict[str, str]]:
    """Who counts how many MACs for DeiT-Tiny, and why they differ."""
    return [
        {"Counter": _WHY[key][0], "GMAC": f"{count / 1e9:.4f}", "Why": _WHY[key][1]} for key, count in COUNTERS.items()
    ]


IMAGES = """
**Digits in the wild**: real handwriting (the UCI digits that scikit-learn ships, CC BY 4.0) on crops of its two real
photographs (CC BY), at random place, size, slant and colour, among fragments of other digits; 48 by 48 pixels, ten
classes, and for every image the exact mask of its digit. They are composed on this machine from a seed. The test split
has {count:,} images and shares neither a handwriting sample nor a photo region with the training split.
"""

EDGE = """
**Published latencies**: {latencies:,} figures of networks on {devices} devices, each with its source. {learnt:,} of
them are end-to-end measurements of networks that timm has, and the latency model learns from these; {apart} are kept
apart (sums of operators, figures read off a plot, segmenters and other networks that timm lacks), and a latency that
would need more than the chip's peak is rejected ({impossible} had to be). A prediction comes from what a runtime sees
of each layer (multiply-accumulates by kind, elements moved, kernels), from the rows of its own target, and from what
targets with the same chip, runtime or precision show. The table says how far it was off on rows that it had not seen;
its interval of 80 % was set on other rows than those it is judged by. A data sheet alone predicts little: a device
with all its rows hidden is off by half and more.
"""

MACS_KINDS = """
The same network has different MACs in print. **With attention**: the two products inside attention are counted, as
they are here; a network without attention stands here too. **Without attention**: they are left out, as by counters
that do not know them: 4 % less for a DeiT-B, 8 % for a DeiT-S. **Zeros left out**: single weights or blocks of them are
zero and not counted, which no dense file or engine repays. **Not stated**: neither source nor value tells.
"""

RESULTS = """
**Published results**: {results:,} figures of {methods} methods from {sources} sources: papers, their tables read at
second hand where the row says so, and the repositories of their authors. {checked:,} were read in their source; the
rest were recalled or come from somebody's notes, and are hidden until asked for. Each count of MACs says its convention
and what tells it; the Pareto page never shows two conventions, or two data sets, on one chart.
"""

DEVICES = """
**Peaks, bandwidth, memory and power** of {devices} devices stand as their makers, or those who measured, printed them;
what nobody printed stays empty. The **roofline** takes every operation to run at the peak of its bits or at the
bandwidth of the memory, whichever is slower; real kernels reach a part of that, so it is the least time, no forecast.

**Energy** adds what one operation and one byte cost in the table of Horowitz (ISSCC 2014), a chip of 45 nm. Between two
published widths of numbers costs follow a straight line in logarithms. The range of a figure is no 95 % interval: its
low end keeps activations in a cache of 1 MB and takes the cheapest DRAM, its high end sends every byte through the
dearest. A newer chip needs several times less, so trust the change from one recipe to another.

**Boards of your own** are timed by `calibrate`: stacks of layers of every kind and {networks} networks. What a kind of
operation costs there is learned by non-negative least squares, and the 80 % interval comes from networks that were left
out of the fit in turn. With one thread its time on the processor counts, which other programs do not lengthen.
"""
