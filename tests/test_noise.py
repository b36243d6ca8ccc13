"""Our normal numbers are those of JAX, in every bit."""

import chex
import jax
import jax.numpy as jnp
import pytest

from jaxga.noise import normal


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 4, 5), (0,)])
def test_the_numbers_are_those_of_jax(shape):
    key = jax.random.key(3)
    chex.assert_trees_all_equal(jax.jit(normal, static_argnums=1)(key, shape), jax.random.normal(key, shape))


def test_a_population_draws_what_each_of_it_would():
    keys = jax.random.split(jax.random.key(0), 6)
    ours, theirs = (jax.jit(jax.vmap(lambda key, draw=draw: draw(key, (101,)))) for draw in (normal, jax.random.normal))
    chex.assert_trees_all_equal(ours(keys), theirs(keys))


def test_other_keys_and_other_numbers_are_left_to_jax():
    key = jax.random.key(1, impl="rbg")
    chex.assert_trees_all_equal(normal(key, (5,)), jax.random.normal(key, (5,)))
    half = normal(jax.random.key(1), (5,), jnp.bfloat16)
    assert half.dtype == jnp.bfloat16
    chex.assert_trees_all_equal(half, jax.random.normal(jax.random.key(1), (5,), jnp.bfloat16))
