"""Benchmark: how fast recipes really run on this machine, in every engine, and whether the engine keeps its answers."""

import streamlit as st

from vitedge_core.ui import cache, layout

EXPLANATION = """
**An engine** is a program that carries a network out. PyTorch itself, *eager*, runs one operation after the other in
float32 and is the baseline; others fuse operations, or really compute in 8 bits.

**In turn**: baseline and engines take one pass each, round after round, so that a busy machine troubles all alike. The
ratio comes from pairs of the same round. Where its 95 % interval holds 1, there is *no difference measured*.

**p50 and p95**: half of the passes, and 95 % of them, are faster than this. **CPU time** is what all threads of a pass
took together; where it is much shorter than p50, other programs were in the way.

**Agreement**: an engine rounds and reorders, so its answers can differ from those of the same recipe in eager PyTorch.
One that changes more of them than half the width of the accuracy's interval is marked.
"""

layout.header("Benchmark", "How fast does it really run here? Every engine in turn with the baseline, with intervals.")
layout.first_start()

from vitedge_core.ui import benchmark, kinds, own_file  # noqa: E402  they load PyTorch: see first_start

with layout.guarded():
    planned = layout.planned_recipe()
    missing = cache.without_weights(planned.recipe.model)
    if missing:
        layout.empty("cloud_off", missing)
        st.stop()
    request = benchmark.choice(planned)
    rows = benchmark.results(request) if request is not None else None
    if request is not None and rows is not None:
        benchmark.draw(rows)
        benchmark.again(request)
    with st.expander("How is it measured?", icon=":material/help:"):
        st.markdown(EXPLANATION)
    with layout.guarded():
        kinds.section(planned.runnable)
    with layout.guarded():
        own_file.section(planned.recipe.model)
