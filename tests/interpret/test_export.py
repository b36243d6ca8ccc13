"""What a GPU or a TPU would compute: its programs, lowered here, and its branches, run on the CPU beside the CPU's own.

`jax.export` lowers a program for another platform: it says whether JAX has a rule there for everything in it. It does
not compile it to machine code, and nothing runs there.
"""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import jaxga
from jaxga import lowrank, nn
from jaxga import variation as v
from jaxga.evaluate import Sharded
from jaxga.heredity import candidate
from jaxga.interpret import by_parts
from jaxga.run import BLOCK, Program, block

IMAGES = np.random.default_rng(0).normal(size=(6, 13, 11, 3)).astype(np.float32)
WISHES = np.random.default_rng(1).normal(size=(6, 5)).astype(np.float32)
# Few channels, which are cut into patches, and many, of which every position in the kernel is a product.
CONV = nn.ConvNet(5, (16, 3), (4, 2), (2, 1), hidden=6)
NETWORKS = {"mlp": nn.MLP((7, 5)), "conv": CONV}
MUTATIONS = {"gaussian": v.gaussian(v.relative(0.3)), "low rank": v.low_rank(v.relative(0.3))}
ACCELERATORS = "cuda", "tpu"
RECOMBINATIONS = {"selected": None, "averaged": v.average(4, v.by_rank)}


def regression(network) -> jaxga.Task:
    """The mean squared distance between what a network says of six images and what it should say."""

    def evaluate(key, params):
        del key
        return jaxga.Evaluation(-jnp.mean((network.apply(params, jnp.asarray(IMAGES)) - WISHES) ** 2))

    return jaxga.Task(lambda key: network.init(key, jnp.asarray(IMAGES[:1])), evaluate)


def made(network, mutation, recombination="selected", parents=2, children=16):
    task = regression(NETWORKS[network])
    options = {"recombination": chosen} if (chosen := RECOMBINATIONS[recombination]) else {}
    return task, jaxga.ga(task.init, MUTATIONS[mutation], parents=parents, children=children, **options)


def as_accelerator(monkeypatch):
    """What the source asks JAX while it traces; what is decided when a program is lowered, `jax.export` decides."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def lowered(program, *platforms):
    """A block of generations, as `jaxga.run` would dispatch it."""
    state, limit = program.shape_of_state(), jax.ShapeDtypeStruct((), jnp.int32)
    return export.export(jax.jit(partial(block, program)), platforms=platforms)(state, limit)


def shapes(tree):
    return [leaf.shape for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize(
    ("network", "mutation", "recombination"),
    [
        pytest.param("mlp", "gaussian", "selected", marks=pytest.mark.slow),
        ("mlp", "low rank", "averaged"),
        ("conv", "gaussian", "selected"),
        pytest.param("conv", "low rank", "averaged", marks=pytest.mark.slow),
    ],
)
def test_a_block_of_generations_is_lowered_for_accelerators(monkeypatch, network, mutation, recombination):
    as_accelerator(monkeypatch)
    task, algorithm = made(network, mutation, recombination)
    program = Program(algorithm, jaxga.vmapped(algorithm, task))
    found = lowered(program, *ACCELERATORS)
    assert found.platforms == ACCELERATORS
    state, info, *_ = jax.tree.unflatten(found.out_tree, found.out_avals)
    assert shapes(state) == shapes(program.shape_of_state())
    assert info.metrics["nan"].shape == (BLOCK,)
    # A convolution of many kernels would be a grouped one, which is slow there. Of images that a whole brood sees,
    # low-rank children take an ordinary one.
    groups = set(re.findall(r"feature_group_count = (\d+)", found.mlir_module()))
    assert groups == ({"1"} if (network, mutation) == ("conv", "low rank") else set())


def test_on_a_cpu_convolutions_stay_convolutions():
    """So that the test above is able to fail."""
    task, algorithm = made("conv", "gaussian")
    module = lowered(Program(algorithm, jaxga.vmapped(algorithm, task)), "cpu").mlir_module()
    assert "stablehlo.convolution" in module


def test_a_block_on_four_devices_is_lowered_for_accelerators(monkeypatch):
    as_accelerator(monkeypatch)
    task, algorithm = made("mlp", "low rank", "averaged")
    evaluator = jaxga.sharded(jaxga.vmapped(algorithm, task, chunk=2), jax.devices()[:4])
    assert isinstance(evaluator, Sharded)
    found = lowered(Program(algorithm, evaluator), *ACCELERATORS)
    assert found.nr_devices == 4
    assert "stablehlo.all_gather" in found.mlir_module()


def on_accelerator(monkeypatch):
    """Every choice that the source makes by platform, made for an accelerator, in programs that run on this CPU."""
    as_accelerator(monkeypatch)
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *operands, default, **_: default(*operands))


def convolved(x, kernel, stride):
    """Correlation of ``x [P, h, w, c]`` with ``[k, k, c, n]``, pixel by pixel."""
    size = kernel.shape[0]
    rows, columns = ((side - size) // stride + 1 for side in x.shape[1:3])
    y = np.zeros((len(x), rows, columns, kernel.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            window = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
            y[:, i, j] = np.tensordot(window, kernel, 3)
    return y


@pytest.mark.parametrize("images", ["common", "own"])
@pytest.mark.parametrize("kernel", ["dense", "low rank"])
@pytest.mark.parametrize(("size", "stride", "channels"), [(4, 2, 3), (3, 2, 3), (3, 1, 16), (3, 2, 16)])
def test_convolutions_by_products_are_convolutions(monkeypatch, size, stride, channels, kernel, images):
    """Of three children: patches in whole blocks, patches pixel by pixel, and products for every position."""
    draw = np.random.default_rng(2).normal
    x, base = draw(size=(3, 2, 9, 8, channels)), draw(size=(size, size, channels, 5))
    left, right = draw(size=(3, size * size * channels, 2)), draw(size=(3, 2, 5))
    x = x[:1].repeat(3, 0) if images == "common" else x
    matrices = base + (left @ right).reshape(3, *base.shape)
    on_accelerator(monkeypatch)

    def of_child(images, left, right, matrix):
        leaf = lowrank.add_factors(jnp.float32(base), left, right) if kernel == "low rank" else matrix
        convolve = partial(jax.lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return by_parts(lambda kernel: convolve(images, kernel, (stride, stride), "VALID"))(leaf)

    own = images == "own"
    operands = x if own else x[0], left, right, matrices
    found = jax.vmap(of_child, in_axes=(0 if own else None, 0, 0, 0))(*map(jnp.float32, operands))
    for n in range(3):
        np.testing.assert_allclose(found[n], convolved(x[n], matrices[n], stride), atol=1e-3)


def said(network, params):
    """What a network says, in numpy and float64, of its dense parameters."""
    layers = {
        name: (np.float64(layer["kernel"]), np.float64(layer["bias"])) for name, layer in params["params"].items()
    }
    x = np.float64(IMAGES)
    for number, stride in enumerate(network.strides if network is CONV else ()):
        kernel, bias = layers[f"Conv_{number}"]
        x = np.maximum(convolved(x, kernel, stride) + bias, 0)
    x = x.reshape(len(x), -1)
    for number in range(2):
        kernel, bias = layers[f"Dense_{number}"]
        x = (np.maximum(x, 0) if number else x) @ kernel + bias
    return x


def reference(network, algorithm, state):
    """The fitness of every child, of its dense parameters."""

    build = jax.jit(lambda state, index: lowrank.dense(candidate(algorithm, state, index).params))
    children = [jax.device_get(build(state, np.int32(index))) for index in range(algorithm.children)]
    return np.array([-np.mean((said(network, child) - WISHES) ** 2) for child in children])


@pytest.mark.parametrize(
    ("network", "mutation"),
    [
        pytest.param("conv", "gaussian", marks=pytest.mark.slow),
        ("conv", "low rank"),
        pytest.param("mlp", "low rank", marks=pytest.mark.slow),
        ("mlp", "gaussian"),
    ],
)
def test_branches_for_accelerators_score_as_those_for_a_cpu_do(monkeypatch, network, mutation):
    task, algorithm = made(network, mutation)
    state = jax.jit(algorithm.init)(jax.random.key(3))
    expected = reference(NETWORKS[network], algorithm, state)
    assert len(np.unique(expected.round(3))) > 8
    on_cpu = jax.jit(jaxga.vmapped(algorithm, task, chunk=4))(state).fitness
    np.testing.assert_allclose(on_cpu, expected, rtol=1e-4)
    on_accelerator(monkeypatch)
    elsewhere = jax.jit(jaxga.vmapped(algorithm, task, chunk=4))(state).fitness
    np.testing.assert_allclose(elsewhere, expected, rtol=1e-4)


def test_an_accelerator_scores_many_children_at_once(monkeypatch):
    task, algorithm = made("mlp", "low rank", parents=1, children=4096)
    here = jaxga.vmapped(algorithm, task)
    assert (here.chunk, here.ahead > 1) == (8, True)
    as_accelerator(monkeypatch)
    there = jaxga.vmapped(algorithm, task)
    assert (there.chunk, there.ahead) == (512, 1)


@pytest.mark.slow
def test_many_children_at_once_score_as_few_do(monkeypatch):
    """All 16 in one chunk, as an accelerator has them, and eight in each, as a CPU has."""
    task, algorithm = made("conv", "low rank", parents=1)
    state = jax.jit(algorithm.init)(jax.random.key(3))
    expected = reference(CONV, algorithm, state)
    on_accelerator(monkeypatch)
    evaluator = jaxga.vmapped(algorithm, task)
    assert evaluator.chunk == 16
    np.testing.assert_allclose(jax.jit(evaluator)(state).fitness, expected, rtol=1e-4)
