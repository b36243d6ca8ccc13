"""Encodings: their exact values, and what they refuse."""

import chex
import genotypes
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy
from genotypes import KERNEL

import jaxga
from jaxga import encoding, nn

KEY = jax.random.key(0)


def network_of(key):
    return genotypes.plain().init(key)


def flat(tree):
    return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(tree)])


def test_a_subspace_is_a_start_and_orthonormal_columns():
    made = encoding.subspace(network_of, 20, key=3)
    genes = jax.jit(made.init)(KEY)
    assert (genes.shape, float(jnp.abs(genes).max())) == ((20,), 0.0)
    columns = jax.jacobian(lambda genes: flat(made.decode(genes)))(genes)
    chex.assert_trees_all_close(columns.T @ columns, jnp.eye(20), atol=1e-6)
    shared = (columns != 0).sum(axis=0)
    assert int(shared.max() - shared.min()) <= 1
    assert ((columns != 0).sum(axis=1) == 1).all()
    assert 0.3 < float((columns > 0).sum() / len(columns)) < 0.7
    start, moved = (jax.jit(made.decode)(each) for each in (genes, jnp.arange(20.0)))
    chex.assert_trees_all_close(flat(moved), flat(start) + columns @ jnp.arange(20.0), atol=1e-6)
    other = jax.jit(encoding.subspace(network_of, 20, key=4).decode)(genes)
    assert not np.array_equal(flat(other), flat(start))


def test_cosines_are_the_inverse_transform_of_scipy():
    made = encoding.cosines(network_of, {KERNEL: (2, 3, 5)}, {KERNEL: (4, 4, 8)})
    genes = jax.jit(made.init)(KEY)
    whole = np.zeros((4, 4, 8))
    whole[:2, :3, :5] = np.asarray(genes["params"]["Dense_0"]["kernel"]).reshape(2, 3, 5)
    params = jax.jit(made.decode)(genes)["params"]
    np.testing.assert_allclose(
        params["Dense_0"]["kernel"], scipy.fft.idctn(whole, norm="ortho").reshape(16, 8), atol=1e-6
    )
    chex.assert_trees_all_equal(params["Dense_1"], genes["params"]["Dense_1"])
    every = encoding.cosines(network_of, 6)
    genes = jax.jit(every.init)(KEY)
    whole = np.zeros((16, 8))
    for place, gene in zip(
        [(0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0)], genes["params"]["Dense_0"]["kernel"], strict=True
    ):
        whole[place] = gene
    params = jax.jit(every.decode)(genes)["params"]
    np.testing.assert_allclose(params["Dense_0"]["kernel"], scipy.fft.idctn(whole, norm="ortho"), atol=1e-6)
    assert jax.tree.map(jnp.shape, genes)["params"]["Dense_1"] == {"bias": (6,), "kernel": (6,)}


def test_genes_begin_with_the_scale_of_their_leaf():
    wide = lambda key: nn.MLP((64 * 9, 10)).init(key, jnp.zeros((1, 100)))  # noqa: E731
    ties = {KERNEL: encoding.patches((10, 10, 1), (8, 8), 64)}
    for made in (encoding.cosines(wide, 2000), encoding.tied(wide, ties)):
        found = jax.jit(made.decode)(jax.jit(made.init)(KEY))["params"]["Dense_0"]
        assert abs(float(jnp.sqrt(jnp.mean(found["kernel"] ** 2))) / 0.1 - 1) < 0.06
        assert float(jnp.abs(found["bias"]).max()) == 0


@pytest.mark.parametrize("stride", [1, 2])
def test_tied_patches_are_a_convolution(stride):
    images = jax.random.normal(KEY, (5, 7, 6, 2))
    kernel = jax.random.normal(jax.random.key(1), (3, 2, 2, 4))
    due = jax.lax.conv_general_dilated(
        images, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    table = encoding.patches((7, 6, 2), (3, 2), 4, stride)
    made = encoding.tied(lambda key: {"w": jax.random.normal(key, table.shape)}, {"w": table})
    weights = made.decode({"w": kernel.reshape(-1)})["w"]
    chex.assert_trees_all_close(images.reshape(5, -1) @ weights, due.reshape(5, -1), atol=1e-5)


def test_what_is_the_same_everywhere_sums_over_places():
    table = encoding.everywhere(3, (2, 4))
    made = encoding.tied(lambda key: {"w": jax.random.normal(key, (6, 4))}, {"w": table})
    genes = jax.jit(made.init)(KEY)
    x = jax.random.normal(KEY, (5, 3, 2))
    due = x.sum(axis=1) @ genes["w"].reshape(2, 4)
    chex.assert_trees_all_close(x.reshape(5, -1) @ jax.jit(made.decode)(genes)["w"], due, atol=1e-5)


def test_a_hypernetwork_is_asked_about_places():
    """A network that passes on one coordinate tells what it is."""

    class Passing:
        def __init__(self, number):
            self.number = number

        def init(self, key, x):
            return {"one": jnp.ones(())}

        def apply(self, params, x):
            return params["one"] * x[:, self.number : self.number + 1]

        def init_with_output(self, key, x):
            return self.apply(self.init(key, x), x), self.init(key, x)

    large = lambda key: {"a": jnp.ones((6, 2)), "b": jnp.full(2, 3.0), "c": jnp.zeros(2)}  # noqa: E731
    found = [
        encoding.hypernetwork(Passing(number), large, {"a": (3, 2, 2)}).decode({"one": jnp.ones(())})
        for number in range(6)
    ]
    ones, zeros = np.ones((6, 2)), np.zeros((6, 2))
    np.testing.assert_array_equal([params["a"] for params in found[:3]], [ones, zeros, zeros])
    rows, columns = np.meshgrid([-1, 0, 1], [-1, 1], indexing="ij")
    expected = [np.repeat(axis.reshape(6, 1), 2, axis=1) for axis in (rows, columns)] + [np.tile([-1.0, 1.0], (6, 1))]
    np.testing.assert_array_equal([params["a"] for params in found[3:]], expected)
    np.testing.assert_array_equal([params["b"] for params in found], [[0, 0], [3, 3], [0, 0], [0, 0], [0, 0], [-3, 3]])
    whole = np.sqrt((12 * 1 + 2 * 9) / 16)
    np.testing.assert_allclose(
        [params["c"] for params in found[2:]], whole * np.array([[1, 1], [0, 0], [0, 0], [-1, 1]]), rtol=1e-6
    )


INIT = lambda key: {"w": jnp.ones((4, 3)), "b": jnp.zeros(3)}  # noqa: E731
TASK = jaxga.Task(INIT, lambda key, params: params["w"].sum())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: encoding.encoded(TASK, lambda genes: genes), "needs an Encoding, or a function from genes to params"),
        (lambda: encoding.encoded(TASK, encoding.subspace(INIT, 2), INIT), "got an Encoding and an init"),
        (lambda: encoding.encoded(INIT, lambda genes: genes, INIT), "must be a jaxga.Task or a jaxga.Game"),
        (
            lambda: encoding.encoded(TASK, lambda genes: {"w": genes, "b": jnp.zeros(3)}, lambda key: jnp.ones((3, 4))),
            r"leaf 'w' as float32\[3, 4\], and float32\[4, 3\] was due",
        ),
        (lambda: encoding.subspace(INIT, 16), "dimensions is 16, and the network has 15 weights"),
        (lambda: encoding.subspace(INIT, 0), "dimensions is 0"),
        (lambda: encoding.tied(INIT, {"v": np.zeros(2, int)}), r"names the leaves \['v'\], and the network has"),
        (lambda: encoding.tied(INIT, {"b": np.zeros(2, int)}), r"has shape \(2,\) and dtype int64"),
        (lambda: encoding.tied(INIT, {"b": np.zeros(3)}), "dtype float64, and whole numbers"),
        (lambda: encoding.tied(INIT, {"b": np.array([0, -2, 1])}), "goes down to -2"),
        (lambda: encoding.tied(INIT, {"b": np.full(3, -1)}), "ties no weight to a gene"),
        (lambda: encoding.patches((4, 4, 1), (5, 3), 2), "a patch of 5 x 3 is larger than the image, 4 x 4"),
        (lambda: encoding.patches((4, 4), (3, 3), 2), r"give \(h, w, channels\), \(h, w\)"),
        (lambda: encoding.everywhere(0, (2,)), "places is 0"),
        (lambda: encoding.everywhere(2, ()), "shape is empty"),
        (lambda: encoding.cosines(INIT, 0), "coefficients of 'b' is 0"),
        (lambda: encoding.cosines(INIT, {"w": (2, 4)}), "more than the leaf has along an axis"),
        (lambda: encoding.cosines(INIT, {"w": (2, 2, 2)}), "one for each axis"),
        (lambda: encoding.cosines(INIT, 2, {"w": (2, 2, 2)}), "give a shape of the same size"),
        (lambda: encoding.hypernetwork(nn.MLP((2,)), INIT), r"shape \(15, 2\) for coordinates \(15, 4\), and"),
        (lambda: encoding.hypernetwork(nn.MLP((1,)), INIT, {"x": (2, 2)}), "shapes names the leaves"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(wrong, message):
    with pytest.raises(jaxga.InputError, match=message):
        wrong()
