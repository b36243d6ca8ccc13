"""Normal numbers, many and fast: those of ``jax.random.normal``, bit for bit, with the hash of JAX written out.

JAX runs the 20 rounds of its hash (Threefry-2x32: Salmon et al., SC 2011) as a loop on a CPU. In the large program of a
generation XLA does not join this loop with what is made of its numbers, and a generation takes up to twice as long.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Key, as_key
from jaxga.compilation import any_of_all

ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)
PARITY = 0x1BD11BDA


def normal(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """``jax.random.normal``; other numbers than float32, and keys of other kinds, are left to it.

    >>> key = jax.random.key(0)
    >>> bool((normal(key, (3, 5)) == jax.random.normal(key, (3, 5))).all())
    True
    """
    size = int(np.prod(shape))
    partitionable = getattr(jax.config, "jax_threefry_partitionable", False)  # the default: numbers by their index
    ours = dtype == jnp.float32 and key.dtype == as_key(0).dtype and partitionable
    if not (ours and 0 < size < 2**32):
        return jax.random.normal(key, shape, dtype)
    return _numbers(jax.random.key_data(key), size).reshape(shape)


@partial(jax.jit, static_argnames="size", inline=True)  # traced once for a size: that is the greater part of a trace
def _numbers(words: jax.Array, size: int) -> jax.Array:
    """The first ``size`` normal numbers of a key ``[2]``.

    They are made in a loop of one turn, whose number XLA cannot know (`jaxga.compilation.loop`). Otherwise XLA may fuse
    them into their users, and make them again for each.
    """
    turns = any_of_all((words[0] | np.uint32(1)) > 0).astype(jnp.int32)  # 1

    def turn(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        number, _ = carry
        return number + 1, _normal_of(_bits(words, size))

    return jax.lax.while_loop(lambda carry: carry[0] < turns, turn, (jnp.int32(0), jnp.zeros(size, jnp.float32)))[1]


def _bits(key: jax.Array, size: int) -> jax.Array:
    """``jax.random.bits``: the hash of a counter under a key ``[2]``, two words in one."""
    keys = key[0], key[1], key[0] ^ key[1] ^ np.uint32(PARITY)
    x = jnp.broadcast_to(keys[0], size)
    y = jnp.arange(size, dtype=jnp.uint32) + keys[1]
    for number in range(5):
        for turn in ROTATIONS[number % 2]:
            x = x + y
            y = x ^ ((y << np.uint32(turn)) | (y >> np.uint32(32 - turn)))
        x = x + keys[(number + 1) % 3]
        y = y + keys[(number + 2) % 3] + np.uint32(number + 1)
    return x ^ y


def _normal_of(bits: jax.Array) -> jax.Array:
    """The quantile of 23 bits: they are the mantissa of a uniform number between -1 and 1."""
    low = np.nextafter(np.float32(-1), np.float32(0))
    unit = jax.lax.bitcast_convert_type((bits >> np.uint32(9)) | np.uint32(0x3F800000), jnp.float32) - np.float32(1)
    uniform = jnp.maximum(low, unit * (np.float32(1) - low) + low)
    return np.float32(np.sqrt(2)) * jax.lax.erf_inv(uniform)
