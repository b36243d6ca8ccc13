"""Neuroevolution on JAX: whole populations of networks as a batch, from a notebook to a cluster."""

from jaxga import analysis, baselines, checkpoint, data, nn, pedigree, report, selection, stop, tasks, variation
from jaxga._version import __version__
from jaxga.algorithm import common_founder, ga, random_founders
from jaxga.base import (
    PLAYED,
    STEPS,
    Algorithm,
    Evaluation,
    Game,
    Individual,
    InputError,
    State,
    Task,
    Variation,
    common,
    independent,
    paired,
    require,
)
from jaxga.devices import use_cores
from jaxga.evaluate import best_validated, rollouts, sharded, validated, vmapped
from jaxga.many import Runs, join_runs, load_runs, run_many, run_seeds
from jaxga.planning import Plan, best_chunk, plan
from jaxga.run import Result, run

__all__ = [
    "PLAYED",
    "STEPS",
    "Algorithm",
    "Evaluation",
    "Game",
    "Individual",
    "InputError",
    "Plan",
    "Result",
    "Runs",
    "State",
    "Task",
    "Variation",
    "__version__",
    "analysis",
    "baselines",
    "best_chunk",
    "best_validated",
    "checkpoint",
    "common",
    "common_founder",
    "data",
    "ga",
    "independent",
    "join_runs",
    "load_runs",
    "nn",
    "paired",
    "pedigree",
    "plan",
    "random_founders",
    "report",
    "require",
    "rollouts",
    "run",
    "run_many",
    "run_seeds",
    "selection",
    "sharded",
    "stop",
    "tasks",
    "use_cores",
    "validated",
    "variation",
    "vmapped",
]
