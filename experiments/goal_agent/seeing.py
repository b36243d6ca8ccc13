"""Does an autoencoder see a small character? The plain loss, beside residuals from the average and weighted pixels."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from goal_agent import sprites
from goal_agent.encoder import Encoder, encoder

KINDS: dict[str, dict[str, Any]] = {
    "plain loss": {"residual": False},
    "residual": {},
    "residual and weights": {"stress": 1.0},
}


class Seen(NamedTuple):
    """What one way of learning leaves, ``[R]`` of R seeds."""

    character: np.ndarray  # mean square error of the character's pixels
    background: np.ndarray  # and of all others
    pictures: np.ndarray  # [places, size, size], as the first seed reconstructs them


def learn(size: int, code: int, updates: int, seeds: int, seed: int, batch: int = 64, **options: Any) -> Seen:
    """Autoencoders of this way, side by side, on pictures with the character anywhere."""
    every = jnp.asarray(sprites.pictures(size))
    seen = encoder("plain", size * size, code, 1e-3, **options)

    def run(key: jax.Array) -> tuple[jax.Array, ...]:
        key_init, key_learn = jax.random.split(key)

        def step(learned: Any, key: jax.Array) -> tuple[Any, None]:
            some = every[jax.random.randint(key, (batch,), 0, len(every), jnp.int32)]
            return seen.step(key, learned, some), None

        learned, _ = jax.lax.scan(step, seen.init(key_init), jax.random.split(key_learn, updates))
        return judged(seen, learned.params, every)

    found = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(seed), seeds))
    character, background, painted = (np.asarray(part) for part in found)
    return Seen(character, background, painted[0].reshape(-1, size, size))


def judged(seen: Encoder, params: Any, pictures: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Errors of the character's pixels and of the others, and what was painted."""
    painted = seen.paint(params, pictures)
    wrong, inside = (painted - pictures) ** 2, sprites.character(pictures)
    return (
        jnp.sum(jnp.where(inside, wrong, 0.0)) / jnp.sum(inside, dtype=jnp.float32),
        jnp.sum(jnp.where(inside, 0.0, wrong)) / jnp.sum(~inside, dtype=jnp.float32),
        painted,
    )
