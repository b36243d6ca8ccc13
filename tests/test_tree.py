"""Paths, keys, sizes, and what is refused as parameters."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import tree
from jaxga.lowrank import Columns, LowRank

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


MATRIX = jnp.zeros((2, 3))


@pytest.mark.parametrize(
    ("new", "message"),
    [
        ({**TREE, "b": (jnp.zeros(4), 0.0)}, r"cut returned leaf 'b/0' as float32\[4\], and float32\[3\] was due"),
        ({**TREE, "b": (jnp.zeros(3), jnp.float16(0))}, r"leaf 'b/1' as float16\[\], and float32\[\] was due"),
        ({**TREE, "b": (jnp.zeros(3), 0)}, r"leaf 'b/1' as int32\[\], and float32"),
        ({**TREE, "b": (jnp.zeros(3), "much")}, r"leaf 'b/1' as str, and float32"),
        ({**TREE, "b": (jnp.zeros(3), jnp.zeros(1))}, r"leaf 'b/1' as float32\[1\], and float32\[\] was due"),
        ({**TREE, "b": (jnp.zeros(3), None)}, "cut returned no leaf 'b/1', which was due"),
        ({**TREE, "c": MATRIX}, "cut returned a leaf 'c', which was not due"),
        ({**TREE, "b": list(TREE["b"])}, r"cut returned a tree .*\[\*, \*\]}, and .*\(\*, \*\)} was due"),
        (MATRIX, r"cut returned a tree \*, and {'a'"),
        (
            {**TREE, "a": {"kernel": LowRank(MATRIX.T, jnp.zeros((3, 1)), jnp.zeros((1, 2))), "bias": jnp.zeros(3)}},
            r"leaf 'a/kernel' as float32\[3, 2\]",
        ),
    ],
)
def test_what_is_not_like_its_parent_is_named(new, message):
    with pytest.raises(jaxga.InputError, match=message):
        tree.check_like(new, TREE, "cut")


def test_a_bare_array_that_is_not_like_its_parent():
    with pytest.raises(jaxga.InputError, match=r"^cut returned float32\[3\], and float32\[2, 3\] was due"):
        tree.check_like(jnp.zeros(3), MATRIX, "cut")


@pytest.mark.parametrize(
    "kernel",
    [
        np.zeros((2, 3)),  # float64, which is float32 to JAX
        LowRank(MATRIX, jnp.zeros((2, 1)), jnp.zeros((1, 3))),
        Columns(MATRIX, jnp.zeros(1, jnp.int32), jnp.zeros((2, 1))),
    ],
)
@pytest.mark.parametrize("number", [0.5, np.float64(0.5), jnp.asarray(0.5)])
def test_what_is_like_its_parent_passes_and_becomes_arrays_of_its_type(kernel, number):
    new = {"a": {"kernel": kernel, "bias": jnp.zeros(3)}, "b": (jnp.zeros(3), number)}
    tree.check_like(new, TREE, "cut")
    found = tree.as_like(new, TREE)
    assert isinstance(found["a"]["kernel"], type(MATRIX) if isinstance(kernel, np.ndarray) else type(kernel))
    assert (found["b"][1].dtype, found["b"][1].weak_type, float(found["b"][1])) == (jnp.float32, False, 0.5)
    half = tree.as_like({"gain": 0.5}, {"gain": jnp.bfloat16(0)})
    assert half["gain"].dtype == jnp.bfloat16


class Shift:
    def __call__(self, x):
        return x

    def back(self, x):
        return x


def test_functions_have_names():
    here = lambda x: x  # noqa: E731
    line = here.__code__.co_firstlineno
    named = {"Shift": Shift(), "Shift.back": Shift().back, "normal": jax.random.normal, "add": jnp.add, "max": max}
    for name, function in named.items():
        assert tree.name_of(function) == name
        assert tree.name_of(functools.partial(functools.partial(function), 1)) == name
    for function in (here, jax.jit(here), functools.partial(here, 1)):
        assert tree.name_of(function) == f"<lambda> at test_tree.py:{line}"
