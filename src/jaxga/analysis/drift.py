"""Genetic drift: how chance alone changes a population, compared with the theory of Wright and Fisher."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.algorithm import ga
from jaxga.base import Choice, Evaluation, Key, Params, State, as_key, require, require_whole
from jaxga.compilation import jit
from jaxga.report.plots import Curve, plot_curves
from jaxga.selection import truncation
from jaxga.tree import iota
from jaxga.variation import stateless


class Drift(NamedTuple):
    """A neutral allele in R populations that evolve independently."""

    share: np.ndarray  # [R, G + 1], share of the parents that carry the allele, at the start and after each generation
    parents: int  # T, parents of each population
    children: int  # N, children per generation

    @property
    def diversity(self) -> np.ndarray:
        """``[G + 1]``: the chance that two parents, drawn with replacement, differ, relative to that at the start."""
        mixed = (self.share * (1 - self.share)).mean(axis=0)
        return mixed / mixed[0]

    @property
    def expected(self) -> np.ndarray:
        """``[G + 1]``, theory for equal broods: two survivors are siblings with probability ``(B - 1) / (N - 1)``."""
        brood = self.children // self.parents
        siblings = (brood - 1) / (self.children - 1) if self.children > 1 else 1.0
        return (1 - siblings) ** np.arange(self.share.shape[1])

    @property
    def wright_fisher(self) -> np.ndarray:
        """``[G + 1]``, ``(1 - 1 / T)^g``: theory for parents that are drawn from infinitely many children."""
        return (1 - 1 / self.parents) ** np.arange(self.share.shape[1])

    def fixed(self) -> tuple[float, float, float]:
        """Shares of populations in which all parents carry the allele at the end, none does, and some do."""
        last = self.share[:, -1]
        return float(np.mean(last == 1)), float(np.mean(last == 0)), float(np.mean((last > 0) & (last < 1)))

    def plot(self, path: str | Path | None = None) -> Any:
        """Plot 12 populations, and the diversity compared with both theories."""
        generations = np.arange(self.share.shape[1])
        some = [Curve("", generations, share) for share in self.share[:12]]
        curves = [
            Curve("measured", generations, self.diversity),
            Curve("balanced broods", generations, self.expected, "--"),
            Curve("Wright and Fisher", generations, self.wright_fisher, ":"),
        ]
        left = {"xlabel": "generation", "ylabel": "share of parents with the allele", "ylim": (-0.03, 1.03)}
        return plot_curves([(left, some), ({"xlabel": "generation", "ylabel": "diversity left"}, curves)], path)


def drift(
    parents: int,
    children: int,
    key: Key | int = 0,
    *,
    carriers: int | None = None,
    generations: int = 100,
    repeats: int = 500,
    selection: Choice = truncation,
) -> Drift:
    """How fast does a population lose neutral variation?

    Some of the first parents carry a neutral allele. There are no mutations, and all individuals are equally fit. The
    probability that the allele spreads to all parents is its initial share (Wright 1931). Diversity halves within about
    ``0.7 T`` generations, so small populations lose variation fast. Useful variation is lost in the same way if noise
    hides its effect on fitness.

    Args:
      parents: number of parents of each population, T in the text above.
      children: number of children per generation, a multiple of the number of parents.
      key: key or seed, by default 0.
      carriers: number of the first parents with the allele, by default half of them.
      generations: G, by default 100.
      repeats: R, the number of independent populations, by default 500.
      selection: the selection, by default `jaxga.selection.truncation`.

    Raises:
      InputError: if all parents or none carry the allele, or a number is below 1.

    >>> answer = drift(8, 64, generations=30, repeats=2000)
    >>> bool(np.abs(answer.diversity - answer.expected).max() < 0.05)
    True
    """
    require_whole(1, generations=generations, repeats=repeats)
    carriers = parents // 2 if carriers is None else carriers
    require(
        0 < carriers < parents, f"carriers is {carriers} of {parents} parents: some must carry the allele and some not."
    )

    def founders(key: Key, init: Any, number: int) -> Params:
        del key, init
        return (iota(number) < carriers).astype(jnp.float32)

    algorithm = ga(
        lambda _: jnp.zeros((), jnp.float32),
        stateless(lambda _, params: params),
        parents=parents,
        children=children,
        selection=selection,
        founders=founders,
    )
    equal = Evaluation(jnp.zeros(children, jnp.float32))

    def population(key: Key) -> jax.Array:
        state = algorithm.init(key)

        def step(state: State, _: None) -> tuple[State, jax.Array]:
            state = algorithm.update(state, equal)[0]
            return state, carrying(state)

        return jnp.append(carrying(state), jax.lax.scan(step, state, None, length=generations)[1])

    def carrying(state: State) -> jax.Array:
        return state.parents.params.mean()

    share = jit(partial(jax.lax.map, population, batch_size=100))(jax.random.split(as_key(key), repeats))
    return Drift(np.asarray(share), parents, children)
