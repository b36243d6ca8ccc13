"""How and where children are scored: every evaluator is ``(state) -> Evaluation [N]``."""

from jaxga.evaluate.rollouts import Rollouts, rollouts
from jaxga.evaluate.sharded import Sharded, sharded
from jaxga.evaluate.validated import Validated, best_validated, validated
from jaxga.evaluate.vmapped import Vmapped, vmapped

__all__ = [
    "Rollouts",
    "Sharded",
    "Validated",
    "Vmapped",
    "best_validated",
    "rollouts",
    "sharded",
    "validated",
    "vmapped",
]
