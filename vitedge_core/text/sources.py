"""The prose of the Sources page, as markdown."""

INTERVALS = """
Every interval is a 95 % interval unless its source says otherwise: Wilson's for an accuracy, Newcombe's paired one for
a difference of accuracies, a bootstrap over interleaved rounds for a latency.
"""

COUNTING = """
- **MACs** are multiply-accumulates of one image: matrix products, convolutions, and the two products inside
  attention. One MAC is two FLOPs. Norms, activations and additions are not counted, as is usual.
- **Attention counts.** For PyTorch's fused attention fvcore has no handler and leaves the operator's products out
  with no more than a log line: 8 to 14 % of a usual ViT. Our counts hold them, and the tests compare them with
  PyTorch's own FLOP counter.
- **Size on disk** is the weights file: integers packed at their bits, their scales, the rest in float32. The package
  that you download has this size.
- **Zeros are not speed.** Weights pruned one by one are zeros that a dense file still stores and a dense kernel still
  multiplies. What a sparse format or engine would make of them are other quantities with other names.
- **Peak memory** adds the weights to the most activations that are alive at once, found by walking through the
  operations in their order.
- **Latency** is the median over passes of one image, baseline and compressed in turn in one process, after a warm-up.
  Values of fewer bits are only rounded and still computed in float here, so no speed-up is claimed for them.
"""

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
