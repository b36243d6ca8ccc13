"""Paths, keys, sizes, and what is refused as parameters."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

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
    [
        ({"steps": jnp.zeros(3, jnp.int32)}, "leaf 'steps' has dtype int32, and mutation needs floats"),
        ({"w": jnp.zeros(3), "layers": [{"count": 3}]}, "leaf 'layers/0/count' has dtype int32"),
        ({"w": jnp.zeros(3), "train": True}, "leaf 'train' has dtype bool"),
        ({"w": jnp.zeros(3), "drop": jax.random.key(0)}, "leaf 'drop' has dtype key<fry>"),
        ({"w": jnp.zeros(3), "act": jax.nn.relu}, "leaf 'act' is the function relu, .* eqx.combine"),
        ({"w": jnp.zeros(3), "name": "relu"}, "leaf 'name' is the str 'relu', .* eqx.partition"),
        ({"w": jnp.zeros(3, jnp.complex64)}, "leaf 'w' has dtype complex64, and mutation needs real numbers"),
        (jnp.arange(3), "^params has dtype int32"),
        ({}, "without a single array"),
        ({"w": None}, "without a single array"),
        ({"w": jnp.zeros((0, 5)), "b": jnp.zeros(0)}, r"without a single number, the leaves \['b', 'w'\] are empty"),
    ],
)
def test_params_that_cannot_evolve_are_named(params, message):
    with pytest.raises(jaxga.InputError, match=message):
        tree.check_params(params)
    with pytest.raises(jaxga.InputError, match=message):
        tree.shape_of_params(lambda _: params, jax.random.key(0))


def test_params_that_can_evolve_pass():
    params = {"w": np.zeros(2, np.float32), "half": jnp.zeros((), jnp.bfloat16), "empty": jnp.zeros(0), "static": None}
    tree.check_params(params)
    shapes = tree.shape_of_params(lambda _: params, jax.random.key(0))
    assert {name: leaf.shape for name, leaf in tree.named_leaves(shapes).items()} == {
        "w": (2,),
        "half": (),
        "empty": (0,),
    }


def test_the_statistics_of_batch_norm_are_found():
    class Net(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.BatchNorm(use_running_average=True)(linen.Dense(3)(x))
            return linen.BatchNorm(use_running_average=True)(x)

    params = Net().init(jax.random.key(0), jnp.zeros((1, 2)))
    expected = [f"batch_stats/BatchNorm_{layer}/{name}" for layer in (0, 1) for name in ("mean", "var")]
    assert tree.running_statistics(params) == expected
    assert tree.running_statistics({"net": params, "gain": jnp.ones(())}) == [f"net/{name}" for name in expected]
    assert tree.running_statistics(params["params"]) == []


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_root_mean_square_of_an_empty_leaf_is_zero(dtype):
    found = [tree.root_mean_square(jnp.array(leaf, dtype)) for leaf in ([], [[]], -2.0, [1.0, 7.0])]
    assert [float(value) for value in found] == [0, 0, 2, 5]  # sqrt((1 + 49) / 2)
    assert all((value.shape, value.dtype) == ((), dtype) for value in found)


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
            {
                **TREE,
                "a": {"kernel": LowRank(MATRIX.T, jnp.zeros((1, 3, 1)), jnp.zeros((1, 1, 2))), "bias": jnp.zeros(3)},
            },
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
        LowRank(MATRIX, jnp.zeros((1, 2, 1)), jnp.zeros((1, 1, 3))),
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
