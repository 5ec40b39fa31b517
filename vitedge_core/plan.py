"""What a network is to the arithmetic: blocks that methods edit, and every operation with its shape. No weights.

Letters used in shapes: B batch, N tokens, D width, H heads, d head width, M hidden neurons of an MLP, L blocks,
K classes. All figures are per image.

A plan is edited by the same words as a real model (`vitedge_core.surgery`): keep heads, keep hidden neurons, drop a
block, set tokens, set bits, set zeros. Every edit returns a new plan.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from vitedge_core.errors import VitEdgeError

FLOAT_BITS = 32
BLOCK_LAYERS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")  # the linear layers of a block that methods edit


class Kind(StrEnum):
    """What an operation is for; costs are summed by it."""

    PATCH_EMBED = "patch embedding"
    QKV = "query, key, value"
    ATTENTION = "attention products"
    PROJECTION = "attention projection"
    MLP = "MLP"
    CONVOLUTION = "convolution"
    LINEAR = "other linear"
    NORM = "normalisation"
    TOKENS = "token merging"
    HEAD = "classifier"
    EMBEDDING = "embeddings"
    ELEMENTWISE = "elementwise"


class Half(StrEnum):
    """The part of a block an operation belongs to; token methods may give the two parts different lengths."""

    NONE = ""
    ATTENTION = "attention"
    MLP = "mlp"


@dataclass(frozen=True, slots=True)
class Op:
    """One operation: `rows` times a product of `inputs` by `outputs` elements, or none of it (elementwise).

    path: the module of the real model it comes from. `weights` are the elements of its weight tensor (they can be
    quantised or zeroed), `others` its float remainder (bias, norm, embedding). `reads` and `writes` count activation
    elements, `held` those of other tensors that are alive meanwhile, `scratch` those that a kernel needs for itself
    for a single image; in a batch it needs `batch_scratch` for each and `repacked` once.
    """

    path: str
    kind: Kind
    rows: int = 0
    inputs: int = 0
    outputs: int = 0
    weights: int = 0
    others: int = 0
    reads: int = 0
    writes: int = 0
    held: int = 0
    block: int = -1
    half: Half = Half.NONE
    w_bits: int = FLOAT_BITS
    a_bits: int = FLOAT_BITS
    scales: int = 0  # bytes a file keeps for scales and zero points of weights and activations
    zeros: int = 0
    pattern: str = ""  # how its zeros lie: "2:4" for two of every four weights in a row, "" for anywhere
    buffers: int = 0  # bytes of what a file keeps beside parameters: running statistics
    constants: int = 0  # bytes of tables that no file keeps and memory does: masks, positions
    header: int = 0  # bytes that name its tensors in a file
    scratch: int = 0
    batch_scratch: int = 0
    repacked: int = 0
    shared: bool = False  # it looks at no image: a batch needs it once, as a table of positions

    def times(self, batch: int) -> int:
        """How often it is carried out for so many images."""
        return 1 if self.shared else batch

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations."""
        return self.rows * self.inputs * self.outputs

    @property
    def params(self) -> int:
        """Parameters, quantised or not, zero or not."""
        return self.weights + self.others

    @property
    def stored_bytes(self) -> int:
        """What a file takes for it: packed integers at `w_bits`, their scales, the rest in float32, and names."""
        packed = -(-self.weights * self.w_bits // 8)
        return packed + self.scales + self.others * FLOAT_BITS // 8 + self.buffers + self.header


@dataclass(frozen=True, slots=True)
class Block:
    """A transformer block that methods can edit.

    path: module path ("blocks.3"). attention: "global", "window", or "other" for what no method here edits.
    tokens: N that enter the attention; mlp_tokens: N that enter the MLP; groups: how many windows they split into.
    prefix: class, distillation and register tokens among them. hidden: M, 0 when the block has no editable MLP.
    """

    path: str
    stage: int
    attention: str
    tokens: int
    mlp_tokens: int
    width: int
    heads: int
    head_width: int
    hidden: int
    groups: int = 1
    prefix: int = 0
    merged: int = 0  # tokens this block merges or drops between attention and MLP


@dataclass(frozen=True, slots=True)
class Plan:
    """A network as numbers. `exact` is false while a step's choice depends on weights nobody has looked at yet."""

    model: str
    image: tuple[int, int, int]  # channels, height, width
    classes: int
    blocks: tuple[Block, ...]
    ops: tuple[Op, ...]
    exact: bool = True

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return sum(op.macs for op in self.ops)

    @property
    def params(self) -> int:
        """Parameters."""
        return sum(op.params for op in self.ops)

    @property
    def zeros(self) -> int:
        """Weights that are zero."""
        return sum(op.zeros for op in self.ops)

    @property
    def quantised(self) -> bool:
        """Whether any weight or activation is below 32 bits."""
        return any(op.w_bits < FLOAT_BITS or op.a_bits < FLOAT_BITS for op in self.ops)

    @property
    def merges_tokens(self) -> bool:
        """Whether a block gets rid of tokens."""
        return any(block.merged for block in self.blocks)

    def map_ops(self, edit: Callable[[Op], Op | None]) -> Plan:
        """The plan with every operation edited; None removes it."""
        return replace(self, ops=tuple([new for op in self.ops if (new := edit(op)) is not None]))

    def _with_block(self, index: int, block: Block) -> Plan:
        return replace(self, blocks=(*self.blocks[:index], block, *self.blocks[index + 1 :]))

    def keep_heads(self, index: int, heads: int) -> Plan:
        """Block `index` with `heads` of its heads: fewer rows of qkv, fewer columns of the projection.

        Bytes of scores, rows of products and a per-head bias table shrink in proportion.
        """
        block = self.blocks[index]
        if not 1 <= heads <= block.heads:
            raise VitEdgeError(f"{block.path} can keep 1 to {block.heads} heads, not {heads}.")
        # copies, scalings and norms of queries and keys inside the attention go head by head, too
        per_head = {f"{block.path}.attn{part}" for part in ("", ".q_norm", ".k_norm")}

        def edit(op: Op) -> Op:
            if op.block != index or op.half is not Half.ATTENTION:
                return op
            share = _Share(heads, block.heads)
            if op.kind is Kind.QKV:
                return _outputs(op, share)
            if op.kind is Kind.PROJECTION:
                return _inputs(op, share)
            if op.kind is Kind.ATTENTION:
                return replace(op, rows=share(op.rows), reads=share(op.reads), writes=share(op.writes),
                               others=share(op.others))  # fmt: skip
            if op.path in per_head:
                return replace(op, reads=share(op.reads), writes=share(op.writes))
            return op

        return self._with_block(index, replace(block, heads=heads)).map_ops(edit)

    def keep_hidden(self, index: int, hidden: int) -> Plan:
        """Block `index` with `hidden` of the neurons of its MLP."""
        block = self.blocks[index]
        if not 1 <= hidden <= block.hidden:
            raise VitEdgeError(f"{block.path} can keep 1 to {block.hidden} hidden neurons, not {hidden}.")

        def edit(op: Op) -> Op:
            if op.block != index or op.half is not Half.MLP:
                return op
            share = _Share(hidden, block.hidden)
            if op.path.endswith(".fc1"):
                return _outputs(op, share)
            if op.path.endswith(".fc2"):
                return _inputs(op, share)
            if op.path.startswith(f"{block.path}.mlp"):  # activation between the two
                return replace(op, reads=share(op.reads), writes=share(op.writes))
            return op

        return self._with_block(index, replace(block, hidden=hidden)).map_ops(edit)

    def drop_blocks(self, dropped: Collection[int]) -> Plan:
        """Without the blocks of these numbers; the others are numbered anew, their paths too (`blocks.3` moves up)."""
        kept = [index for index in range(len(self.blocks)) if index not in dropped]
        if not kept:
            raise VitEdgeError("A model must keep at least one block.")
        paths = _renumbered([self.blocks[index].path for index in kept])
        place = {old: new for new, old in enumerate(kept)}

        def edit(op: Op) -> Op | None:
            if op.block < 0:
                return op
            if op.block not in place:
                return None
            old = self.blocks[op.block].path
            new = place[op.block]
            return replace(op, block=new, path=paths[new] + op.path.removeprefix(old))

        blocks = tuple(replace(self.blocks[old], path=paths[new]) for new, old in enumerate(kept))
        return replace(self.map_ops(edit), blocks=blocks)

    def merge_tokens(
        self, merged: Callable[[int, int], int], extra: Callable[[Block, int], int], *, restored: bool = False
    ) -> Plan:
        """Every block gets rid of tokens between its attention and its MLP.

        Args:
            merged: From the block's number and the tokens that enter it to the tokens it gets rid of.
            extra: From the block (with its own tokens) and that number to the MACs of finding them.
            restored: Whether what follows the blocks sees every token again, each with the value of the one it is in.
        """
        lengths: list[tuple[int, int]] = []
        tokens = self.blocks[0].tokens
        for index in range(len(self.blocks)):
            gone = merged(index, tokens)
            lengths.append((tokens, tokens - gone))
            tokens -= gone
        before = self.blocks
        blocks = tuple(
            replace(block, tokens=n, mlp_tokens=m, merged=n - m)
            for block, (n, m) in zip(self.blocks, lengths, strict=True)
        )
        ops: list[Op] = []
        last_of_attention = {op.block: i for i, op in enumerate(self.ops) if op.half is Half.ATTENTION}
        last_of_blocks = max((i for i, op in enumerate(self.ops) if op.block >= 0), default=-1)
        for i, op in enumerate(self.ops):
            if op.block >= 0:
                old, new = before[op.block], blocks[op.block]
                ops.append(_tokens(op, old, new))
                if last_of_attention.get(op.block) == i and new.merged:
                    ops.append(_search(op, new, extra(new, new.merged)))
            elif i > last_of_blocks and not restored and op.rows == before[len(blocks) - 1].mlp_tokens:
                ops.append(_rows(op, _Share(tokens, op.rows)))
            else:
                ops.append(op)
        return replace(self, blocks=blocks, ops=tuple(ops))

    def set_bits(self, paths: Collection[str], *, weights: int, activations: int, scales: Callable[[Op], int]) -> Plan:
        """Bits of the operations at these paths; `scales` gives the bytes a file keeps for an operation's scales."""
        chosen = set(paths)

        def edit(op: Op) -> Op:
            if op.path not in chosen:
                return op
            return replace(op, w_bits=weights if op.weights else op.w_bits, a_bits=activations, scales=scales(op))

        return self.map_ops(edit)

    def set_zeros(self, zeros: dict[str, int], pattern: str = "") -> Plan:
        """How many weights are zero, by path, and how they lie."""

        def edit(op: Op) -> Op:
            return replace(op, zeros=zeros[op.path], pattern=pattern) if op.weights and op.path in zeros else op

        return self.map_ops(edit)


@dataclass(frozen=True, slots=True)
class _Share:
    """Exact proportion of integers: what is counted per head or per neuron always divides."""

    new: int
    old: int

    def __call__(self, count: int) -> int:
        return count * self.new // self.old


def _outputs(op: Op, share: _Share) -> Op:
    return replace(op, outputs=share(op.outputs), weights=share(op.weights), others=share(op.others),
                   writes=share(op.writes), zeros=share(op.zeros))  # fmt: skip


def _inputs(op: Op, share: _Share) -> Op:
    return replace(op, inputs=share(op.inputs), weights=share(op.weights), reads=share(op.reads),
                   zeros=share(op.zeros))  # fmt: skip


def _rows(op: Op, share: _Share) -> Op:
    return replace(op, rows=share(op.rows), reads=share(op.reads), writes=share(op.writes), held=share(op.held),
                   scratch=share(op.scratch), batch_scratch=share(op.batch_scratch))  # fmt: skip


def _tokens(op: Op, old: Block, new: Block) -> Op:
    """An operation of a block whose token counts change from `old` to `new`."""
    mlp = _Share(new.mlp_tokens, old.mlp_tokens)
    attention = _Share(new.tokens, old.tokens)
    if op.half is Half.MLP:
        return _rows(op, mlp)
    if op.kind is not Kind.ATTENTION:
        return _rows(op, attention)
    # scores are [N, N]: the rows shrink, and so does the side that runs over the keys
    shrunk = _rows(op, attention)
    if op.path.endswith(".scores"):
        return replace(shrunk, outputs=attention(op.outputs), writes=attention(shrunk.writes))
    if op.path.endswith(".mix"):
        return replace(shrunk, inputs=attention(op.inputs))
    return replace(shrunk, reads=attention(shrunk.reads), writes=attention(shrunk.writes))


def _search(after: Op, block: Block, macs: int) -> Op:
    return Op(
        f"{block.path}.merge", Kind.TOKENS, rows=1, inputs=macs, outputs=1, reads=block.tokens * block.width,
        writes=block.mlp_tokens * block.width, held=after.held, block=after.block, half=Half.NONE,
    )  # fmt: skip


def _renumbered(paths: list[str]) -> list[str]:
    """Paths after removal from their lists: "blocks.0", "blocks.3" become "blocks.0", "blocks.1"."""
    counters: dict[str, int] = {}
    renamed = []
    for path in paths:
        parent = path.rpartition(".")[0]
        number = counters.get(parent, 0)
        counters[parent] = number + 1
        renamed.append(f"{parent}.{number}")
    return renamed
