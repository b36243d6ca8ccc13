"""How and where children are scored: every evaluator is ``(state) -> Evaluation [N]``."""

from jaxga.evaluate.vmapped import Vmapped, vmapped

__all__ = ["Vmapped", "vmapped"]
