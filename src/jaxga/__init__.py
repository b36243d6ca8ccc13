"""Neuroevolution on JAX: whole populations of networks as a batch, from a notebook to a cluster."""

from jaxga import baselines, checkpoint, nn, pedigree, report, selection, stop, tasks, variation
from jaxga._version import __version__
from jaxga.algorithm import common_founder, ga, random_founders
from jaxga.base import (
    Algorithm,
    Evaluation,
    Individual,
    InputError,
    State,
    Task,
    Variation,
    common,
    independent,
    require,
)
from jaxga.evaluate import vmapped
from jaxga.many import Runs, load_runs, run_many
from jaxga.run import Result, run

__all__ = [
    "Algorithm",
    "Evaluation",
    "Individual",
    "InputError",
    "Result",
    "Runs",
    "State",
    "Task",
    "Variation",
    "__version__",
    "baselines",
    "checkpoint",
    "common",
    "common_founder",
    "ga",
    "independent",
    "load_runs",
    "nn",
    "pedigree",
    "random_founders",
    "report",
    "require",
    "run",
    "run_many",
    "selection",
    "stop",
    "tasks",
    "variation",
    "vmapped",
]
