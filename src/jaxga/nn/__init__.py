"""Networks of flax: perceptrons, convolutions, and networks that are made of parts.

They are ordinary modules. Any other network evolves as fast, because `jaxga.interpret` finds computations that a
population can share in the program of a network, whatever its layers are.
"""

from jaxga.nn.networks import MLP, ConvNet, applied, lecun_normal, notes_normal
from jaxga.nn.parts import Ensemble, Residual, Stack, attention, each, importance, in_turn, largest_logit, mean, total

__all__ = [
    "MLP",
    "ConvNet",
    "Ensemble",
    "Residual",
    "Stack",
    "applied",
    "attention",
    "each",
    "importance",
    "in_turn",
    "largest_logit",
    "lecun_normal",
    "mean",
    "notes_normal",
    "total",
]
