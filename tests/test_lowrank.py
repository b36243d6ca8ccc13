"""A low-rank leaf is its dense matrix in everything that can be observed."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from jaxga import lowrank, nn
from jaxga.lowrank import LowRank


def leaf(shape, rank, seed=0):
    keys = jax.random.split(jax.random.key(seed), 3)
    rows = int(np.prod(shape[:-1]))
    return LowRank(
        jax.random.normal(keys[0], shape),
        jax.random.normal(keys[1], (rows, rank)),
        jax.random.normal(keys[2], (rank, shape[-1])),
    )


@pytest.mark.parametrize("rank", [1, 3])
def test_matmul_equals_dense(rank):
    kernel, x = leaf((6, 4), rank), jax.random.normal(jax.random.key(9), (2, 5, 6))
    chex.assert_trees_all_close(lowrank.matmul(x, kernel), x @ kernel.dense(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("channels", [3, 16])
def test_convolution_equals_dense(rank, channels):
    kernel, x = leaf((4, 4, channels, 6), rank), jax.random.normal(jax.random.key(9), (2, 11, 9, channels))
    found = nn.convolve(x, kernel, 2)
    chex.assert_trees_all_close(found, nn.convolve(x, kernel.dense(), 2), rtol=1e-3, atol=1e-3)


def test_a_foreign_flax_layer_sees_the_dense_matrix():
    kernel, x = leaf((6, 4), 2), jnp.ones((3, 6))
    found = linen.Dense(4, use_bias=False).apply({"params": {"kernel": kernel}}, x)
    chex.assert_trees_all_close(found, x @ kernel.dense(), rtol=1e-5)


def test_is_a_pytree_with_the_shape_and_type_of_its_base():
    kernel = leaf((3, 3, 2, 5), 2)
    assert (kernel.shape, kernel.ndim, kernel.dtype) == ((3, 3, 2, 5), 4, jnp.float32)
    chex.assert_trees_all_equal(jax.jit(lambda tree: tree)(kernel), kernel)


def test_steps_on_steps_add_up_their_ranks():
    first, second = leaf((6, 4), 1), leaf((6, 4), 2, seed=1)
    both = lowrank.add_factors(first, second.left, second.right)
    assert both.left.shape == (6, 3)
    chex.assert_trees_all_close(both.dense(), first.dense() + second.left @ second.right, rtol=1e-5, atol=1e-5)


def test_norm_of_a_step_without_building_it():
    kernel = leaf((6, 4), 2)
    step = lowrank.step_leaf(kernel, kernel.base)
    assert isinstance(step, lowrank.Factors)
    chex.assert_trees_all_close(lowrank.square_norm(step), jnp.sum((step.left @ step.right) ** 2), rtol=1e-5)


def test_selecting_keeps_factors_only_where_the_base_is_shared():
    kernel = leaf((6, 4), 1)
    kept = lowrank.select_leaf(jnp.bool_(False), kernel, kernel.base)
    assert isinstance(kept, LowRank)
    chex.assert_trees_all_equal(kept.dense(), kernel.base)
    other = jnp.zeros((6, 4))
    assert not isinstance(lowrank.select_leaf(jnp.bool_(True), kernel, other), LowRank)
    chex.assert_trees_all_close(lowrank.select_leaf(jnp.bool_(True), kernel, other), kernel.dense())
