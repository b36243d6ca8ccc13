"""How and where children are scored: every evaluator is ``(state) -> Evaluation [N]``."""

from jaxga.evaluate.hosts import over_hosts
from jaxga.evaluate.rollouts import Rollouts, rollouts
from jaxga.evaluate.sharded import Sharded, sharded, together, worth_sharing
from jaxga.evaluate.validated import Validated, best_validated, validated
from jaxga.evaluate.vmapped import Vmapped, vmapped
from jaxga.evaluate.workers import Pool, pool

__all__ = [
    "Pool",
    "Rollouts",
    "Sharded",
    "Validated",
    "Vmapped",
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
