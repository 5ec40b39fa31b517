"""What every test shares: a data folder of its own, and one thread, so that figures repeat."""

from __future__ import annotations

import os
import tempfile

import pytest
from hypothesis import settings

# before anything of ours is imported: caches are keyed by this folder
_folder = tempfile.TemporaryDirectory(prefix="vitedge-tests-")
os.environ["VITEDGE_DATA"] = _folder.name
os.environ.pop("VITEDGE_STORAGE", None)
settings.register_profile("vitedge", deadline=None, derandomize=True)  # a busy machine is no failure
settings.load_profile("vitedge")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)
