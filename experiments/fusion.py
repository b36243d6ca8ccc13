"""Are mates that know something else better mates? M2N2 (Abrantes et al. 2025) on the digits of scikit-learn.

The network, the data and the numbers are those of the authors' program: 64-256-10, 19,210 weights, pixels from 0 to 16, the
first 1,437 images to learn from and the last 360 to test by, an archive of 20, one child at a time.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import experiment
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen
from flax.linen import initializers

import jaxga
from jaxga import nn, report, variation
from jaxga.selection import attraction, breeding, by, competition, grid, map_elites, proportional, ranked

Start = Literal["scratch", "trained"]
SIGMA, ARCHIVE, TRAINING = 0.01, 20, 1437
ARMS = {  # alpha, attraction, split point, crossover; others are made apart
    "M2N2": (1.0, True, True, True),
    "no attraction": (1.0, False, True, True),
    "no competition": (0.0, True, True, True),
    "no split point": (1.0, True, False, True),
    "no crossover": (1.0, False, False, False),
    "GA": (0.0, False, True, True),
    "GA, no crossover": (0.0, False, False, False),
}
OTHERS = "MAP-Elites", "averaged", "averaged, low rank"
PUBLISHED = {"M2N2": 87, "GA": 68, "no crossover": 77, "GA, no crossover": 71, "MAP-Elites": 60}  # read off a figure
PUBLISHED_TRAINED = {"M2N2": 68.3, "no attraction": 66.2, "no split point": 57.8, "GA": 52, "MAP-Elites": 62.4}


@experiment.own_first
@dataclass
class Args(experiment.Files):
    start: Start = "scratch"
    """From random networks; or from two that were trained, each on half of the digits, without mutation."""
    arms: tuple[str, ...] = ()
    """By default all: M2N2, "no attraction", "no competition", "no split point", "no crossover", GA,
    "GA, no crossover", MAP-Elites; from scratch also averaged and "averaged, low rank"."""
    seeds: int = 10
    """Runs of every arm."""
    evaluations: int | None = None
    """Of a run; by default 50,000 from scratch, 10,000 from trained networks."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/fusion/<id>."""
    quick: bool = False
    """M2N2 alone, for 300 evaluations."""


@linen.module.dataclass_transform()
class _Nothing:
    """For type checkers."""


def load() -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 images, as they are."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise jaxga.base.InputError("the digits need scikit-learn: pip install 'jaxga[data]'.") from error
    images, labels = load_digits(return_X_y=True)
    return images.astype(np.float32), labels.astype(np.int32)


def task_of(images: np.ndarray, labels: np.ndarray) -> jaxga.Task:
    """Fitness is the part of the training images that is right; ``right`` says which. Validation is the test part."""
    network = nn.MLP((256, 10), kernel_init=initializers.normal(SIGMA))
    x, y = jnp.asarray(images[:TRAINING]), jnp.asarray(labels[:TRAINING])
    unseen, answers = jnp.asarray(images[TRAINING:]), jnp.asarray(labels[TRAINING:])

    def init(key: jax.Array) -> Any:
        return network.init(key, x[:1])

    def logits(params: Any, images: jax.Array) -> jax.Array:
        return jnp.asarray(network.apply(params, images))

    def evaluate(key: jax.Array, params: Any) -> jaxga.Evaluation:
        del key
        found = logits(params, x)
        right = (jnp.argmax(found, axis=1) == y).astype(jnp.float32)
        loss = jnp.mean(optax.softmax_cross_entropy_with_integer_labels(found, y))
        even = (y % 2 == 0).astype(jnp.float32)
        halves = jnp.stack([jnp.sum(right * part) / jnp.sum(part) for part in (1 - even, even)])
        return jaxga.Evaluation(jnp.mean(right), metrics={"right": right, "halves": halves, "loss": loss})

    def loss(key: jax.Array, params: Any) -> jax.Array:
        del key
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits(params, x), y))

    def validate(params: Any) -> jaxga.Evaluation:
        return jaxga.Evaluation(jnp.mean((jnp.argmax(logits(params, unseen), axis=1) == answers).astype(jnp.float32)))

    return jaxga.Task(init, evaluate, loss=loss, validate=validate)


def two_random(key: jax.Array, init: Callable[[jax.Array], Any], parents: int) -> Any:
    """Two networks, and the rest of the archive empty: zeros."""
    return _first_two([init(one) for one in jax.random.split(key)], parents)


def _first_two(networks: list[Any], parents: int) -> Any:
    return jax.tree.map(lambda a, b: jnp.zeros((parents, *a.shape), a.dtype).at[0].set(a).at[1].set(b), *networks)


def two_trained(images: np.ndarray, labels: np.ndarray, task: jaxga.Task) -> Callable[..., Any]:
    """Two networks, one trained on the digits 0 to 4 and one on 5 to 9: ten steps of Adam on all of their images."""
    optimiser = optax.adam(0.003)

    def founders(key: jax.Array, init: Callable[[jax.Array], Any], parents: int) -> Any:
        found = []
        for half, one in enumerate(jax.random.split(key)):
            mine = jnp.asarray(labels[:TRAINING] // 5 == half, jnp.float32)
            found.append(trained(one, init, mine))
        return _first_two(found, parents)

    def trained(key: jax.Array, init: Callable[[jax.Array], Any], mine: jax.Array) -> Any:
        network = nn.MLP((256, 10))
        x, y = jnp.asarray(images[:TRAINING]), jnp.asarray(labels[:TRAINING])

        def loss(params: Any) -> jax.Array:
            each = optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(network.apply(params, x)), y)
            return jnp.sum(each * mine) / jnp.sum(mine)

        params = network.init(key, x[:1])
        state = optimiser.init(params)
        for _ in range(10):
            updates, state = optimiser.update(jax.grad(loss)(params), state)
            params = optax.apply_updates(params, updates)
        return params

    del task
    return founders
