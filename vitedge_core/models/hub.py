"""What timm's hub offers for a model, and whether it can be reached now."""

from __future__ import annotations

import os
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import timm

PATIENCE = 3.0  # seconds that a first answer may take
_REST = 300.0  # seconds for which a failure is believed
_answers: dict[str, tuple[float, bool]] = {}  # by address: when it was asked, and whether it answered


def _configured(name: str) -> Any:
    return timm.get_pretrained_cfg(name)


def file_name(name: str) -> str:
    """`<architecture>.<tag>.safetensors`; the tag is timm's default where the name has none."""
    configured = _configured(name)
    tag = getattr(configured, "tag", None)
    return f"{name.partition('.')[0]}.{tag}.safetensors" if tag else f"{name}.safetensors"


def offers(name: str) -> bool:
    """Whether there are weights to download."""
    configured = _configured(name)
    return configured is not None and bool(configured.has_weights)


def cached(name: str) -> Path | None:
    """The file that an earlier download left on this machine."""
    from huggingface_hub import try_to_load_from_cache

    repository = getattr(_configured(name), "hf_hub_id", None)
    if not repository:
        return None
    # timm writes "timm/" for "the repository of that owner with the model's own name"
    path = try_to_load_from_cache(
        repository if not repository.endswith("/") else repository + name, "model.safetensors"
    )
    return Path(path) if isinstance(path, str) else None


def reachable() -> bool:
    """Whether the hub answers; a failure is remembered for some minutes so that nobody waits twice."""
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    asked, answer = _answers.get(address, (0.0, False))
    if not asked or (not answer and time.monotonic() - asked > _REST):
        _answers[address] = (time.monotonic(), answer := _ask(address))
    return answer


def give_up() -> None:
    """Believe for some minutes that the hub cannot be reached."""
    _answers[os.environ.get("HF_ENDPOINT", "https://huggingface.co")] = (time.monotonic(), False)


def _ask(address: str) -> bool:
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"} or not address.startswith("https://"):
        return False
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=PATIENCE):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True  # it answered, if only to refuse this question
    except (OSError, ValueError):
        return False
