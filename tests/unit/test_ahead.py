"""Compiling in a process of its own: it can be cancelled, may die or fail, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections import Counter

import pytest
import tiny
import torch
from torch import Tensor, nn

from vitedge_core.backends import ahead, ahead_process
from vitedge_core.backends.base import Source
from vitedge_core.errors import Cancelled, VitEdgeError


class Small(nn.Module):
    """Two products."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3 * tiny.SIDE**2, 8), nn.Linear(8, tiny.CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.first(images.flatten(1)).relu())


class Branching(Small):
    """Looks at its numbers to decide what to do, which no graph can hold."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) if images.sum() > 0 else super().forward(-images)


@pytest.fixture
def children(monkeypatch, tmp_path):
    """Processes that were started; temporary folders lie in `tmp_path` meanwhile."""
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def recorded(*arguments, **options):
        started.append(start(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(ahead.subprocess, "Popen", recorded)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return started


def source(model: nn.Module | None = None, **asked) -> Source:
    example = tiny.images(1)
    return Source(model or Small().eval(), tiny.plan_of(tiny.network("plain")), example, lambda: example, **asked)


def compiled(given: Source) -> ahead.AheadArtefact:
    return ahead.compile_ahead(given, given.model, freezing=True, facts=lambda calls: ())


def nobody_left(child: subprocess.Popen[bytes]) -> bool:
    """Whether no process of the child's group is alive."""
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)
    return child.returncode is not None


def test_cancelling_kills_the_child_and_leaves_no_file(children, tmp_path):
    told: list[str] = []

    def cancelled() -> bool:
        return len([line for line in told if line.startswith("Compiling")]) >= 5

    start = time.monotonic()
    with pytest.raises(Cancelled):
        compiled(source(report=lambda share, sentence: told.append(sentence), cancelled=cancelled))
    assert time.monotonic() - start < 60
    assert told[0] == "Tracing the model."
    assert "s; 20 to 100 s are usual" in told[-1]
    assert len(children) == 1
    assert nobody_left(children[0])
    assert not list(tmp_path.iterdir())


def test_a_child_that_is_killed_is_one_sentence(children, tmp_path):
    def report(share: float, sentence: str) -> None:
        if children:
            children[0].send_signal(signal.SIGKILL)

    with pytest.raises(VitEdgeError, match=r"was killed \(signal 9\), which happens when memory runs out") as caught:
        compiled(source(report=report))
    assert "\n" not in str(caught.value)
    assert nobody_left(children[0])
    assert not list(tmp_path.iterdir())


def test_the_progress_never_ends_before_the_work(children):
    shares: list[float] = []
    with pytest.raises(Cancelled):
        compiled(source(report=lambda share, _: shares.append(share), cancelled=lambda: len(shares) > 8))
    assert all(0 <= share < 1 for share in shares)
    assert shares[1:] == sorted(shares[1:])


def test_what_cannot_be_traced_is_one_sentence(children, tmp_path):
    with pytest.raises(VitEdgeError, match=r"^PyTorch cannot trace this model .*choose an engine that runs") as caught:
        compiled(source(Branching().eval()))
    assert "\n" not in str(caught.value)
    assert not children
    assert not list(tmp_path.iterdir())


def test_a_problem_of_the_compiler_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead_process.threading, "Thread", lambda **_: type("Idle", (), {"start": lambda self: None})())
    assert ahead_process.main(tmp_path) == 1  # there is nothing to compile in the folder
    with pytest.raises(
        VitEdgeError, match=r"does not take this model: FileNotFoundError: .*; choose another engine\.$"
    ):
        ahead._check(1, tmp_path)


def test_the_child_ends_with_the_program_that_started_it(children, tmp_path):
    """It would go on for a minute and leave its folder, if it did not notice."""
    (tmp_path / "settings.json").write_text('{"freezing": true}')
    os.mkfifo(tmp_path / "traced.pt2")  # it waits for somebody to write to it
    with ahead._child(tmp_path) as child:
        assert child.stdin is not None
        child.stdin.close()  # as the system does when a process ends
        assert child.wait(60) == -signal.SIGKILL
    end = time.monotonic() + 60
    while tmp_path.exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not tmp_path.exists()


def test_without_a_compiler_it_says_how_to_get_one(monkeypatch):
    assert ahead.no_compiler("X") is None
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert ahead.no_compiler("X") == (
        "X needs a C++ compiler and no-such-compiler is not found here; install it (apt install g++ on Debian and "
        "Ubuntu) or name another in CXX."
    )


def test_calls_are_counted_by_the_beginning_of_their_names():
    calls = Counter({"addmm_out": 2, "mm_out": 3, "bmm_out": 4})
    assert ahead.total(calls, "addmm", "mm_") == 5
    assert ahead.total(calls, "conv") == 0


@pytest.mark.slow
def test_it_computes_the_same_for_any_batch_and_leaves_nothing(children, tmp_path):
    given = source()
    found = compiled(given)
    assert not list(tmp_path.iterdir())
    assert nobody_left(children[0])
    images = tiny.images(5)
    with torch.inference_mode():
        torch.testing.assert_close(found.open(1, 5)(images), given.model(images), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.open(1, 1)(images[2:3]), found.open(1, 5)(images)[2:3], rtol=1e-4, atol=1e-5)
    assert found.bytes > 4 * sum(parameter.numel() for parameter in given.model.parameters())
    assert found.seconds > 0
