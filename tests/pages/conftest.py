"""Pages are tested inside the app: `app.py` runs first, as it does in a browser."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import app_test


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
