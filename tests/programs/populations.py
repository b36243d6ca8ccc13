"""Populations of every kind that jaxga.selection makes, on one small task: for tests on every topology."""

import re
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

import jaxga
from jaxga import variation
from jaxga.selection import (
    Selection,
    alike,
    alike_weights,
    anywhere,
    attraction,
    breeding,
    by,
    choose_mate,
    clearing,
    competition,
    crowding,
    curiosity,
    cvt,
    everywhere,
    fitness,
    grid,
    improvement,
    islands,
    local_competition,
    map_elites,
    metric,
    novelty,
    pareto,
    random_migrants,
    ranked,
    replace_oldest,
    replace_worst,
    restricted_tournament,
    sharing,
    threshold_archive,
    tournament,
    unlike,
    weighted,
)

Made = tuple[jaxga.Task, jaxga.Algorithm]


def described(key: jax.Array, w: jax.Array) -> jaxga.Evaluation:
    """A bowl with noise; the place of the network in it, and four points of which it is good at some."""
    fitness = -jnp.sum(w**2) + 0.1 * jax.random.normal(key)
    return jaxga.Evaluation(fitness, metrics={"place": w[:2], "points": (w[:4] > 0).astype(jnp.float32), "size": w[4]})


def make(selection: Selection, *, parents: int = 8, children: int = 24, pairs: int | None = None, **options) -> Made:
    """Crossover and self-adaptive mutation under this selection."""
    task = jaxga.Task(lambda key: jax.random.normal(key, (5,)), described, jaxga.independent)
    mutation = variation.gaussian(variation.log_normal(variation.absolute(0.3)))
    change = variation.chain(variation.uniform_crossover(), mutation)
    algorithm = jaxga.ga(
        task.init, change, parents=parents, children=children, pairs=pairs, selection=selection,
        founders=jaxga.random_founders, **options,
    )  # fmt: skip
    return task, algorithm


def cells(**options) -> Selection:
    return map_elites("place", grid((4, 4), -2, 2), 8, **options)


def annealing(temperature: float) -> Selection:
    """The selection that CONTRIBUTING.md shows, as it stands there."""
    names: dict = {}
    exec(
        re.search(
            r"```python\n(import jax\n.*?)```", (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(), re.DOTALL
        ).group(1),
        names,
    )
    return names["annealing"](temperature)


MADE: dict[str, Callable[[], Made]] = {
    "annealing": lambda: make(annealing(0.5)),
    "crowding": lambda: make(crowding()),
    "restricted tournament": lambda: make(restricted_tournament("place", window=4)),
    "sharing": lambda: make(by(sharing("place", radius=0.5), ranked(elites=2))),
    "clearing": lambda: make(by(clearing("place", radius=0.5), ranked(tournament(2)))),
    "competition": lambda: make(
        breeding(by(competition("points"), ranked(elites=8)), 2, mates=attraction("points")), children=4, pairs=2
    ),
    "novelty": lambda: make(by(novelty("place", neighbours=3))),
    "novelty, threshold": lambda: make(
        by(novelty("place", neighbours=3, archive=threshold_archive(16, 0.5)), ranked(elites=2)), mates=alike_weights(3)
    ),
    "novelty and fitness": lambda: make(by(weighted((novelty("place", neighbours=3), 0.5), (fitness(), 0.5)))),
    "local competition": lambda: make(
        by(pareto(novelty("place", neighbours=3), local_competition("place", 3), metric("size")), ranked(elites=8))
    ),
    "worst replaced": lambda: make(
        breeding(replace_worst(), 2, mates=alike("place", among=3)), children=4, pairs=2
    ),
    "oldest replaced": lambda: make(
        breeding(replace_oldest(), 2, tournament(3), mates=unlike("place", among=3)), children=4, pairs=2
    ),
    "cells": lambda: make(cells(breeders=curiosity), parents=16, children=8, pairs=8),
    "centroids": lambda: make(
        map_elites("place", cvt(12, (-2.0, -2.0), (2.0, 2.0)), 4, breeders=improvement, outside=False),
        parents=12, pairs=4,
    ),
    "islands": lambda: make(islands(ranked(elites=1), 4, every=3, topology=anywhere)),
    "islands of cells": lambda: make(
        islands(cells(), 2, every=2, migrants=2, topology=everywhere, choose=random_migrants),
        parents=32, children=16, pairs=16,
    ),
    "islands of novelty": lambda: make(
        islands(by(novelty("place", 3), breeding(ranked(), 2, mates=choose_mate(tournament(2)))), 2, every=4),
        pairs=4,
    ),
}  # fmt: skip
