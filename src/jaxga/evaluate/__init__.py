"""How and where children are scored: every evaluator is ``(state) -> Evaluation [N]``."""

from jaxga.evaluate.sharded import Sharded, sharded
from jaxga.evaluate.vmapped import Vmapped, vmapped

__all__ = ["Sharded", "Vmapped", "sharded", "vmapped"]
