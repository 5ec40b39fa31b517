"""Pages are tested inside the app: `app.py` runs first, as it does in a browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import app_test

from vitedge_core.ui import cache


class _Navigated(PagesManager):
    """Streamlit takes a folder called "pages" for an app without `st.navigation` until the first run has called it.

    A server learns better after that run; AppTest forgets it before each.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        PagesManager.uses_pages_directory = False


@pytest.fixture(autouse=True)
def _app_runs_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_test, "PagesManager", _Navigated)


@pytest.fixture(autouse=True)
def _nothing_goes_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a page left to be measured would be written into the store of the next test."""
    yield
    worker, end = cache.worker(), time.monotonic() + 60
    left = [task for task in worker._tasks.values() if task.active]
    for task in left:
        task.unwanted.set()
    with worker._changed:
        worker._changed.notify()
    while any(task.active for task in left):
        assert time.monotonic() < end, "a measurement does not stop when it is cancelled"
        time.sleep(0.01)
