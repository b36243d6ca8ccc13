"""Leaves in parts: what they stand for, and the arithmetic of steps."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxga import lowrank
from jaxga.lowrank import LowRank


def factors(shape, rank, seed=0):
    keys = jax.random.split(jax.random.key(seed))
    rows = int(np.prod(shape[:-1]))
    return jax.random.normal(keys[0], (rows, rank)), jax.random.normal(keys[1], (rank, shape[-1]))


def leaf(shape, rank, seed=0):
    base = jax.random.normal(jax.random.key(seed + 100), shape)
    return lowrank.add_factors(base, *factors(shape, rank, seed))


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("shape", [(6, 4), (3, 3, 2, 5), (1, 4), (6, 1)])
def test_a_leaf_is_its_base_plus_the_product_of_its_factors(shape, rank):
    left, right = factors(shape, rank)
    found = leaf(shape, rank)
    chex.assert_trees_all_close(found.dense(), found.base + (left @ right).reshape(shape), rtol=1e-5, atol=1e-5)


def test_each_axis_may_belong_to_either_factor():
    keys = jax.random.split(jax.random.key(1), 3)
    base, left, right = (
        jax.random.normal(k, shape) for k, shape in zip(keys, [(3, 4, 5), (2, 3, 1, 5), (2, 1, 4, 1)], strict=True)
    )
    found = LowRank(base, left, right)
    assert found.on_right == (False, True, False)
    expected = base + jnp.einsum("rik,rj->ijk", left[:, :, 0], right[:, 0, :, 0])
    chex.assert_trees_all_close(found.dense(), expected, rtol=1e-5, atol=1e-5)


def test_is_a_pytree_with_the_shape_and_type_of_its_base():
    kernel = leaf((3, 3, 2, 5), 2)
    assert (kernel.shape, kernel.ndim, kernel.dtype, kernel.rank) == ((3, 3, 2, 5), 4, jnp.float32, 2)
    chex.assert_trees_all_equal(jax.jit(lambda tree: tree)(kernel), kernel)


def test_is_no_array_by_itself():
    """Whoever meets one by mistake gets an error, and never a wrong number."""
    kernel = leaf((6, 4), 1)
    for use in (lambda: kernel + 1, lambda: jnp.ones(6) @ kernel, lambda: kernel > 0, lambda: jnp.sum(kernel)):
        with pytest.raises((TypeError, ValueError)):
            use()


def test_steps_on_steps_add_up_their_ranks():
    first, second = leaf((6, 4), 1), factors((6, 4), 2, seed=1)
    both = lowrank.add_factors(first, *second)
    assert both.rank == 3
    chex.assert_trees_all_close(both.dense(), first.dense() + second[0] @ second[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 4), (3, 2, 4)])
def test_norm_of_a_step_without_building_it(shape):
    kernel = leaf(shape, 2)
    step = lowrank.step_leaf(kernel, kernel.base)
    assert isinstance(step, lowrank.Factors)
    expected = jnp.sum((kernel.dense() - kernel.base) ** 2)
    chex.assert_trees_all_close(lowrank.square_norm(step), expected, rtol=1e-4)


def test_a_weighted_sum_of_steps_without_building_them():
    base, weights = jnp.zeros((3, 2, 4)), jnp.array([0.5, -1.0, 2.0])
    children = [leaf(base.shape, 2, seed) for seed in range(3)]
    steps = jax.tree.map(lambda *each: jnp.stack(each), *(lowrank.Factors(c.left, c.right) for c in children))
    expected = sum(weight * (child.dense() - child.base) for weight, child in zip(weights, children, strict=True))
    chex.assert_trees_all_close(lowrank.add_weighted(base, weights, steps), expected, rtol=1e-4, atol=1e-4)


def test_selecting_keeps_factors_only_where_the_base_is_shared():
    kernel = leaf((6, 4), 1)
    kept = lowrank.select_leaf(jnp.bool_(False), kernel, kernel.base)
    assert isinstance(kept, LowRank)
    chex.assert_trees_all_equal(kept.dense(), kernel.base)
    other = jnp.zeros((6, 4))
    assert not isinstance(lowrank.select_leaf(jnp.bool_(True), kernel, other), LowRank)
    chex.assert_trees_all_close(lowrank.select_leaf(jnp.bool_(True), kernel, other), kernel.dense())
