"""Evaluators, which score the children of a generation: ``(Source) -> Evaluation [N]``."""

from jaxga.evaluate.contract import PLAYED, STEPS, Evaluator, as_evaluator
from jaxga.evaluate.hosts import over_hosts
from jaxga.evaluate.pool import Pool, pool
from jaxga.evaluate.rollouts import Rollouts, rollouts
from jaxga.evaluate.sharded import Sharded, sharded, together, worth_sharing
from jaxga.evaluate.validated import Validated, best_validated, validated
from jaxga.evaluate.vmapped import Vmapped, vmapped

__all__ = [
    "PLAYED",
    "STEPS",
    "Evaluator",
    "Pool",
    "Rollouts",
    "Sharded",
    "Validated",
    "Vmapped",
    "as_evaluator",
    "best_validated",
    "over_hosts",
    "pool",
    "rollouts",
    "sharded",
    "together",
    "validated",
    "vmapped",
    "worth_sharing",
]
