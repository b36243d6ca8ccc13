"""Selection: who is held next, and who breeds."""

from jaxga.base import Scored, Selection
from jaxga.selection.choices import Candidates, linear_rank, ranking, roulette, tournament, truncation
from jaxga.selection.ranked import as_selection, ranked
from jaxga.selection.wrappers import sparing, warming_up

__all__ = [
    "Candidates",
    "Scored",
    "Selection",
    "as_selection",
    "linear_rank",
    "ranked",
    "ranking",
    "roulette",
    "sparing",
    "tournament",
    "truncation",
    "warming_up",
]
