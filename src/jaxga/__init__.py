"""Neuroevolution on JAX: whole populations of networks as a batch, from a notebook to a cluster."""

import importlib
from typing import TYPE_CHECKING, Any

from jaxga._version import __version__
from jaxga.algorithm import common_founder, ga, population, random_founders, trained_founders, uniform_mate
from jaxga.base import (
    Algorithm,
    Evaluation,
    Game,
    Individual,
    InputError,
    Observer,
    Recipe,
    Selection,
    Source,
    State,
    Step,
    Task,
    Trial,
    Variation,
    against,
    common,
    independent,
    paired,
    require,
)
from jaxga.compilation import keep_programs
from jaxga.devices import use_cores
from jaxga.evaluate import (
    PLAYED,
    STEPS,
    Evaluator,
    Pool,
    Rollouts,
    Vmapped,
    best_validated,
    over_hosts,
    pool,
    rollouts,
    sharded,
    validated,
    vmapped,
)
from jaxga.explain import Explanation, explain
from jaxga.many import Runs, join_runs, load_runs, run_many, run_seeds
from jaxga.planning import Plan, best_chunk, plan
from jaxga.run import Ended, Result, run
from jaxga.signals import Interrupted

if TYPE_CHECKING:  # imported when they are first used: see `__getattr__`
    from jaxga import (
        alignment,
        analysis,
        backend,
        baselines,
        checkpoint,
        dashboard,
        data,
        distributed,
        encoding,
        genome,
        growth,
        lifetime,
        memory,
        nn,
        observe,
        pedigree,
        report,
        selection,
        stop,
        tasks,
        variation,
    )

__all__ = [
    "PLAYED",
    "STEPS",
    "Algorithm",
    "Ended",
    "Evaluation",
    "Evaluator",
    "Explanation",
    "Game",
    "Individual",
    "InputError",
    "Interrupted",
    "Observer",
    "Plan",
    "Pool",
    "Recipe",
    "Result",
    "Rollouts",
    "Runs",
    "Selection",
    "Source",
    "State",
    "Step",
    "Task",
    "Trial",
    "Variation",
    "Vmapped",
    "__version__",
    "against",
    "alignment",
    "analysis",
    "backend",
    "baselines",
    "best_chunk",
    "best_validated",
    "checkpoint",
    "common",
    "common_founder",
    "dashboard",
    "data",
    "distributed",
    "encoding",
    "explain",
    "ga",
    "genome",
    "growth",
    "independent",
    "join_runs",
    "keep_programs",
    "lifetime",
    "load_runs",
    "memory",
    "nn",
    "observe",
    "over_hosts",
    "paired",
    "pedigree",
    "plan",
    "pool",
    "population",
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
    "trained_founders",
    "uniform_mate",
    "use_cores",
    "validated",
    "variation",
    "vmapped",
]


def __getattr__(name: str) -> Any:
    """A part of the library, such as ``jaxga.tasks``, is imported when it is first used."""
    if name in __all__:
        return importlib.import_module(f"jaxga.{name}")
    raise AttributeError(f"module 'jaxga' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
