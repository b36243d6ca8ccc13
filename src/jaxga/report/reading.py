"""What lies in the directory of a run, whoever wrote it, and however far it came."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxga.base import InputError, require
from jaxga.report.files import read_json, whole_lines

MACHINE = "jaxga", "jax", "python", "device", "devices", "platform", "commit"


@dataclass(frozen=True)
class Found:
    """The files of one run. What is missing is empty."""

    path: Path
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    seeds: tuple["Found", ...] = ()  # where the directory is that of a series, its runs

    @property
    def name(self) -> str:
        """Of the experiment."""
        return str(self.config.get("name") or self.summary.get("name") or self.path.name)

    @property
    def facts(self) -> dict[str, Any]:
        """The summary without its tables."""
        return {name: value for name, value in self.summary.items() if not isinstance(value, list | dict)}

    @property
    def machine(self) -> dict[str, Any]:
        """Versions and device."""
        return {name: self.config.get(name) for name in MACHINE}

    @property
    def runs(self) -> tuple["Found", ...]:
        """The runs of a series, or the run itself."""
        return self.seeds or (self,)

    @property
    def over(self) -> bool:
        """Did it come to its end?"""
        return bool(self.summary)

    @cached_property
    def history(self) -> dict[str, np.ndarray]:
        """``[G]`` for each column of metrics.jsonl; NaN where a generation has none. Half a last line is left out."""
        file = self.path / "metrics.jsonl"
        if not file.exists():
            return {}
        try:
            records = [json.loads(line) for line in whole_lines(file) if line]
        except ValueError as error:
            raise InputError(f"{file} is damaged ({error}): mend or delete that line.") from error
        names = dict.fromkeys(name for record in records for name in record)
        return {name: np.array([_number(record.get(name)) for record in records]) for name in names}

    def column(self, name: str) -> np.ndarray:
        """One column of the history, or an error that says which ones there are."""
        require(
            bool(self.history), f"{self.path} has no metrics.jsonl, so nothing to draw: name the directory of one run."
        )
        there = ", ".join(sorted(self.history))
        require(name in self.history, f"metric is {name!r}, and {self.path} has {there}.")
        return self.history[name]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def as_text(facts: dict[str, Any]) -> dict[str, str]:
    """Names in words, and values as a person reads them; what is not known is left out.

    >>> as_text({"best_fitness": 1234.5678, "seed": 0, "commit": None})
    {'best fitness': '1,234.57', 'seed': '0'}
    """
    known = {name.replace("_", " "): value for name, value in facts.items() if value not in (None, "")}
    return {name: f"{value:,.6g}" if isinstance(value, float) else str(value) for name, value in known.items()}


def read(path: Path) -> Found:
    """The run in a directory.

    Raises:
      InputError: where there is none, or a file of it is damaged.
    """
    require(path.is_dir(), f"{path} is no directory: name the directory of a run (what --out or directory= said).")
    config, summary = (_if_there(path / name) for name in ("config.json", "summary.json"))
    seeds = tuple(read(below) for below in sorted(path.glob("seed-*"), key=_seed) if below.is_dir())
    require(bool(config or summary or seeds), f"{path} holds no run: it has neither config.json nor summary.json.")
    return Found(path, config, summary, seeds)


def _seed(path: Path) -> int:
    number = path.name.removeprefix("seed-")
    return int(number) if number.isdigit() else -1


def _if_there(file: Path) -> dict[str, Any]:
    found = read_json(file) if file.exists() else {}
    require(isinstance(found, dict), f"{file} is damaged: it is no object.")
    return found
