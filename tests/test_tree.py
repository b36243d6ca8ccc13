"""Paths, keys, sizes, and what is refused as parameters."""

import chex
import jax
import jax.numpy as jnp
import pytest

import jaxga
from jaxga import tree

TREE = {"a": {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}, "b": (jnp.zeros(3), jnp.float32(0))}


def test_paths_have_the_structure_of_the_tree():
    assert tree.paths(TREE)["a"]["kernel"] == ("a", "kernel")
    assert jax.tree.structure(tree.paths(TREE)) == jax.tree.structure(TREE)
    assert list(tree.named_leaves(TREE)) == ["a/bias", "a/kernel", "b/0", "b/1"]


def test_every_leaf_has_a_key_of_its_own():
    data = jnp.stack([jax.random.key_data(key) for key in jax.tree.leaves(tree.key_tree(jax.random.key(0), TREE))])
    assert len({tuple(row.tolist()) for row in data}) == 4


def test_sizes():
    assert tree.size(TREE) == 13
    assert tree.size_in_bytes(TREE) == 52


def test_where_passes_any_leaf():
    old, new = {"x": jnp.zeros(3)}, {"x": jnp.ones(3)}
    chex.assert_trees_all_equal(tree.where(jnp.bool_(True), new, old), new)
    chex.assert_trees_all_equal(tree.where(jnp.bool_(False), new, old), old)


@pytest.mark.parametrize(
    ("params", "message"),
    [({"steps": jnp.zeros(3, jnp.int32)}, "leaf 'steps' has dtype int32"), ({}, "without a single array")],
)
def test_params_that_cannot_evolve_are_named(params, message):
    with pytest.raises(jaxga.InputError, match=message):
        tree.check_params(params)
