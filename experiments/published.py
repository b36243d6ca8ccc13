"""Published scores of Atari games, for the lines in a picture and the columns of a table.

DQN after 200 M frames (Wang et al. 2015, table 2), ES after 1 B (Salimans et al. 2017, table 3) and A3C after four days
(Mnih et al. 2016, table S3; from human starts, so not the same protocol) agree with transcriptions of those papers.
Those of random search and of the GA (Such et al. 2017) are quoted from memory, and not checked against the paper.
"""

METHODS = ("DQN", "ES", "A3C", "RS*", "GA 1B*", "GA 6B*")
FOOTNOTE = "* quoted from memory of Such et al. 2017, not checked; A3C from human starts"
SCORES = {
    "Amidar": (978, 112, 264, 143, 263, 377),
    "Assault": (4_280, 1_674, 5_475, 649, 714, 814),
    "Asterix": (4_359, 1_440, 22_140, 1_197, 1_850, 2_255),
    "Asteroids": (1_365, 1_562, 4_475, 1_307, 1_661, 2_700),
    "Atlantis": (279_987, 1_267_410, 911_091, 26_371, 76_273, 129_167),
    "Enduro": (729, 95, -82, 36, 60, 80),
    "Frostbite": (797, 370, 191, 1_164, 4_536, 6_220),
    "Gravitar": (473, 805, 304, 431, 476, 764),
    "Kangaroo": (7_259, 11_200, 94, 1_099, 3_790, 11_254),
    "Seaquest": (5_861, 1_390, 2_355, 503, 798, 850),
    "Skiing": (-13_062, -15_442, -10_911, -7_679, -6_502, -5_541),
    "Venture": (163, 760, 23, 488, 969, 1_422),
    "Zaxxon": (5_363, 6_380, 24_622, 2_538, 6_180, 7_864),
}


def published(game: str) -> dict[str, int]:
    """Method to score; empty for a game that is not among them."""
    return dict(zip(METHODS, SCORES.get(game, ()), strict=False))
