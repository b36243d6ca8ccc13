"""Networks against their published sizes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import nn, tasks, tree
from jaxga import variation as v


def count(network, shape):
    return tree.size(jax.eval_shape(network.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *shape), jnp.float32)))


def test_sizes_of_the_published_networks():
    assert count(nn.ConvNet(10), (64, 64, 3)) == 605_866
    assert count(nn.ConvNet(10, use_bias=False), (64, 64, 3)) == 605_184
    assert count(nn.ConvNet(18, padding="SAME"), (84, 84, 4)) == 4_052_658  # Such et al. 2017, 18 actions
    pooled = nn.ConvNet(10, (4,), (3,), (1,), hidden=8, padding="SAME", pool=2)
    assert count(pooled, (8, 8, 1)) == (9 * 4 + 4) + (4 * 4 * 4 * 8 + 8) + (8 * 10 + 10)
    assert count(nn.MLP((128, 10)), (784,)) == 101_770


def test_biases_start_at_zero_and_kernels_at_their_scale():
    params = nn.MLP((400, 10), kernel_init=nn.notes_normal).init(jax.random.key(0), jnp.zeros((1, 900)))["params"]
    assert not params["Dense_0"]["bias"].any()
    assert abs(float(params["Dense_0"]["kernel"].std()) - 2 / 30) < 0.001


def test_an_image_smaller_than_the_kernel_is_named():
    with pytest.raises(jaxga.InputError, match="2 x 2 is smaller than the kernel, 3 x 3"):
        count(nn.ConvNet(2, (1,), (3,), (1,)), (2, 2, 3))


@pytest.mark.parametrize(
    "mutation", [v.low_rank(v.relative(0.1)), pytest.param(v.gaussian(v.relative(0.1)), marks=pytest.mark.slow)]
)
def test_half_precision_scores_about_the_same_and_keeps_parents_whole(mutation):
    exact, half = (
        tasks.memorization(nn.ConvNet(4, (4,), (3,), (2,), 8), points=8, shape=(9, 9, 3), classes=4, dtype=dtype)
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    algorithm = jaxga.ga(exact.init, mutation, parents=2, children=16)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    one, other = (jax.jit(jaxga.vmapped(algorithm, task))(state).fitness for task in (exact, half))
    assert other.dtype == jnp.float32
    assert 0 < np.abs(one - other).max() < 0.05
    chex.assert_trees_all_equal_dtypes(exact.init(jax.random.key(0)), half.init(jax.random.key(0)))
