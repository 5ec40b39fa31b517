"""Something that takes a while: a button that starts it, progress with a way to stop it, and then its result."""

from __future__ import annotations

from typing import Any

import streamlit as st

from vitedge_core.ui import cache, state
from vitedge_core.ui.worker import Stage, Task, Work

POLL = 0.4  # seconds between two looks at a task under way


def result_of(key: tuple[Any, ...], work: Work, button: str, why: str, *, by_itself: bool = False) -> Any | None:
    """The result of work in the background; None while there is none, and what to do about it is drawn.

    Args:
        key: Names the result completely; the first part is its purpose, of which a session follows one at a time.
        work: As for `cache.background`.
        button: What the button says that starts it.
        why: What it will do and how long that takes, as a sentence.
        by_itself: Whether it starts without the button, because it is cheap, until a person cancels it.
    """
    purpose, task = str(key[0]), cache.found(key)
    cache.leave_but(key, purposes=(purpose,))
    if task is not None and task.stage is Stage.DONE:
        return task.result
    failed = task is not None and task.stage is Stage.FAILED
    wanted = state.recall(purpose) == key[1:] or (by_itself and state.recall(f"{purpose}-cancelled") != key[1:])
    if failed or not wanted:
        _offer(key, button, why, task.error if failed and task is not None else "")
        return None
    if task is None or task.stage is Stage.CANCELLED or task.unwanted.is_set():
        task = cache.background(key, work, order=0 if by_itself else -1)  # whoever asked waits least
    st.fragment(_follow, run_every=POLL)(task, key)
    return None


def line(key: tuple[Any, ...]) -> None:
    """Progress of work that was started elsewhere, or what went wrong; nothing if there is none, or it is done."""
    task = cache.found(key)
    if task is not None and task.active:
        st.fragment(_follow, run_every=POLL)(task, key)
    elif task is not None and task.error:
        st.caption(f":red[{task.error}]")


def start(key: tuple[Any, ...]) -> None:
    """A person wants this: what failed before is tried again."""
    cache.worker().forget(key)
    state.remember(str(key[0]), key[1:])
    state.remember(f"{key[0]}-cancelled", None)


def _offer(key: tuple[Any, ...], button: str, why: str, error: str) -> None:
    if error:
        st.error(error, icon=":material/error:")
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.button(
            button, key=f"{key[0]}-start", type="primary", icon=":material/play_circle:", on_click=start, args=(key,)
        )
        st.markdown(f":gray[{why}]")


def _follow(task: Task, key: tuple[Any, ...]) -> None:
    """Progress of the background work; the page is drawn anew when it ends."""
    if not task.active:
        st.rerun()
    purpose = str(key[0])
    st.progress(task.fraction, text=task.text or "waiting for its turn")
    if st.button("Cancel", key=f"{purpose}-cancel", icon=":material/stop_circle:", type="tertiary"):
        state.remember(purpose, None)
        state.remember(f"{purpose}-cancelled", key[1:])
        cache.leave_but(purposes=(purpose,))
        st.rerun()
