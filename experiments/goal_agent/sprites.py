"""A small character before a large background, on which an autoencoder can be tried that does not see it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Key, require
from jaxga.tasks.control import Action, Environment

SIDE = 2  # of the character, in pixels
MOVES = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)], np.int32)


class Sprite(NamedTuple):
    """The state of one episode."""

    place: jax.Array  # [2] int32, row and column of the character's upper left pixel


def background(size: int) -> np.ndarray:
    """The same in every picture: large shapes in levels of grey, ``[size, size]``."""
    row, column = np.mgrid[:size, :size] / size
    waves = np.sin(9 * row + 4 * column) + np.sin(5 * column - 7 * row) + (column > 0.6) - (row > 0.7)
    return (0.15 + 0.5 * (waves - waves.min()) / np.ptp(waves)).astype(np.float32)


def drawn(size: int, place: jax.Array) -> jax.Array:
    """The picture ``[size * size]`` with the character at ``place``."""
    row, column = jnp.arange(size, dtype=jnp.int32)[:, None], jnp.arange(size, dtype=jnp.int32)[None, :]
    inside = (row >= place[0]) & (row < place[0] + SIDE) & (column >= place[1]) & (column < place[1] + SIDE)
    return jnp.where(inside, 1.0, jnp.asarray(background(size))).astype(jnp.float32).reshape(-1)


def pictures(size: int) -> np.ndarray:
    """Every picture that there is, ``[places, size * size]``."""
    require(size > 2 * SIDE, f"size is {size}, and must be {2 * SIDE + 1} or more: the character has {SIDE} pixels.")
    places = np.argwhere(np.ones((size - SIDE + 1,) * 2, bool)).astype(np.int32)
    return np.asarray(jax.vmap(lambda place: drawn(size, place))(jnp.asarray(places)))


def character(seen: jax.Array) -> jax.Array:
    """Which pixels of pictures ``[n, size * size]`` are the character's: the white ones."""
    return seen > 0.99


def sprites(size: int = 20, max_steps: int = 40) -> Environment:
    """Move a character north, east, south or west; nothing is paid. An observation is the picture."""
    require(size > 2 * SIDE, f"size is {size}, and must be {2 * SIDE + 1} or more: the character has {SIDE} pixels.")

    def reset(key: Key) -> tuple[Sprite, jax.Array]:
        place = jax.random.randint(key, (2,), 0, size - SIDE + 1, jnp.int32)
        return Sprite(place), drawn(size, place)

    def step(key: Key, state: Sprite, action: Action) -> tuple[Sprite, jax.Array, jax.Array, jax.Array]:
        del key
        place = jnp.clip(state.place + jnp.asarray(MOVES)[action], 0, size - SIDE)
        return Sprite(place), drawn(size, place), jnp.float32(0), jnp.bool_(False)

    return Environment(reset, step, (size * size,), 4, max_steps)
