"""Reads the tables of published figures that lie beside this file: one CSV per family, one row per figure."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path


@cache
def rows(table: str) -> tuple[dict[str, str], ...]:
    """Every row of `<table>.csv` by column name, in the order of the file."""
    with open(Path(__file__).with_name(f"{table}.csv"), encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))
