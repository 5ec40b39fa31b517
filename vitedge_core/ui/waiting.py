"""One line for work in the background: how far it is, how to stop it, what went wrong; a rerun when it is done."""

from __future__ import annotations

from typing import Any

import streamlit as st

from vitedge_core.ui import cache
from vitedge_core.ui.measuring import POLL


def line(key: tuple[Any, ...], title: str) -> None:
    """Draw nothing if nobody asked for that work, or if it is done.

    Args:
        key: As `cache.background` knows it; its first part names its purpose.
        title: What is going on, in words.
    """
    task = cache.found(key)
    if task is None:
        return
    if not task.active:
        if task.error:
            st.caption(f":red[{task.error}]")
        return

    def status() -> None:
        now = cache.found(key)
        if now is None or not now.active:
            st.rerun()
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.progress(min(1.0, max(0.0, now.fraction)), text=f"{title}: {now.text or 'waiting for its turn'}")
            if st.button("Cancel", key=f"cancel-{key[0]}", type="tertiary", icon=":material/stop_circle:"):
                cache.leave_but(purposes=(key[0],))
                st.rerun()

    st.fragment(status, run_every=POLL)()
