"""One contract for all variations; a new one is one more line in the list. And what each of them promises beside it."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import jaxga
from jaxga import nn, tree
from jaxga import variation as v
from jaxga.base import Context, Individual
from jaxga.lowrank import LowRank, dense

ABSOLUTE = v.absolute(0.1)
VARIATIONS = {
    "gaussian": v.gaussian(ABSOLUTE),
    "gaussian relative": v.gaussian(v.relative(0.1)),
    "laplace": v.laplace(ABSOLUTE),
    "uniform": v.uniform(ABSOLUTE),
    "sparse": v.sparse(ABSOLUTE, weights=5),
    "row": v.row(ABSOLUTE),
    "low_rank": v.low_rank(ABSOLUTE),
    "low_rank 3": v.low_rank(ABSOLUTE, rank=3),
    "low_rank on low_rank": v.chain(v.low_rank(ABSOLUTE), v.low_rank(ABSOLUTE, rank=2)),
    "fresh": v.fresh(lambda key: noise_like(key, make_params(0))),
    "stateless": v.stateless(lambda key, params: jax.tree.map(jnp.add, params, noise_like(key, params))),
    "multiplicative": v.gaussian(v.multiplicative(ABSOLUTE, up=1.3)),
    "multiplicative slow": v.gaussian(v.multiplicative(ABSOLUTE, up=1.3, every=4)),
    "multiplicative individual": v.gaussian(v.multiplicative(ABSOLUTE, 1.3, down=1.1, per=v.per.individual)),
    "log_normal": v.gaussian(v.log_normal(v.relative(0.1), tau=0.2)),
    "log_normal leaf, low_rank": v.low_rank(v.log_normal(ABSOLUTE, tau=0.2, per=v.per.leaf)),
    "chain": v.chain(v.uniform_crossover(), v.gaussian(v.multiplicative(ABSOLUTE))),
    "masked": v.masked(v.gaussian(ABSOLUTE), lambda path: path[-1] == "kernel"),
    "masked low_rank": v.masked(v.low_rank(ABSOLUTE), lambda path: path[0] == "a"),
    "one leaf": v.one_at_a_time(v.gaussian(ABSOLUTE), v.per.leaf),
    "one layer low_rank": v.one_at_a_time(v.low_rank(ABSOLUTE), v.per.layer),
    "with_probability": v.with_probability(0.7, v.low_rank(v.multiplicative(ABSOLUTE))),
    "mixture": v.mixture([(0.5, v.gaussian(v.multiplicative(ABSOLUTE))), (0.5, v.low_rank(ABSOLUTE))]),
    "normalised on low_rank": v.chain(v.low_rank(ABSOLUTE), v.normalised(v.low_rank(ABSOLUTE), 0.5)),
    "one leaf on low_rank": v.chain(v.low_rank(ABSOLUTE), v.one_at_a_time(v.gaussian(ABSOLUTE), v.per.leaf)),
    "with_probability on low_rank": v.chain(v.low_rank(ABSOLUTE), v.with_probability(0.5, v.low_rank(ABSOLUTE))),
    "mixture on low_rank": v.chain(v.low_rank(ABSOLUTE), v.mixture([(1, v.low_rank(ABSOLUTE)), (1, v.row(ABSOLUTE))])),
    "crossover on low_rank": v.chain(v.low_rank(ABSOLUTE), v.uniform_crossover()),
    "normalised": v.normalised(v.laplace(ABSOLUTE), 0.5),
    "normalised low_rank": v.normalised(v.low_rank(ABSOLUTE), 0.5, per=v.per.layer),
    "scheduled": v.gaussian(v.scheduled(ABSOLUTE, optax.exponential_decay(1.0, 10, 0.5))),
    "success_rule": v.low_rank(v.success_rule(ABSOLUTE)),
    "momentum": v.momentum(v.gaussian(v.multiplicative(ABSOLUTE))),
    "proportional": v.proportional(v.low_rank(ABSOLUTE)),
    "keep_norm": v.projected(v.low_rank(ABSOLUTE), v.keep_norm),
    "sphere": v.projected(v.gaussian(ABSOLUTE), v.sphere(2.0)),
    "rotation": v.rotation(ABSOLUTE),
    "safe_gradient": v.safe_gradient(v.gaussian(ABSOLUTE), lambda params: answers(params)),
    "safe_gradient by magnitude": v.safe_gradient(v.low_rank(ABSOLUTE), lambda params: answers(params), v.of_magnitude),
    "safe_rescale": v.safe_rescale(v.low_rank(ABSOLUTE), lambda params: answers(params), 0.1, iterations=4),
    "crossover by weight": v.uniform_crossover(v.by_weight),
    "crossover by leaf": v.uniform_crossover(v.by_leaf),
    "crossover by layer": v.uniform_crossover(v.by_layer),
    "crossover by neuron": v.uniform_crossover(v.by_neuron),
    "line": v.line(0.2),
    "slerp": v.slerp(),
    "slerp on low_rank": v.chain(v.low_rank(ABSOLUTE), v.slerp(split=False)),
}
SILENT = {"with_probability", "crossover by leaf", "crossover by layer"}  # a child may well equal its parent


def answers(params):
    """Three outputs for two inputs."""
    inputs = jnp.asarray(np.linspace(-1.0, 1.0, 12).reshape(2, 6), params["a"]["bias"].dtype)
    hidden = jnp.tanh(inputs @ jnp.asarray(params["a"]["kernel"]) + params["a"]["bias"])
    return hidden[:, :3] + hidden @ jnp.asarray(params["b"]["kernel"])[:4, :3]


def noise_like(key, params):
    """Noise with a key of its own for every leaf."""
    keys = tree.key_tree(key, params)
    return jax.tree.map(lambda key, leaf: jax.random.normal(key, leaf.shape, leaf.dtype), keys, params)


EMPTY = {"none": (0,), "no_rows": (0, 5), "no_columns": (5, 0)}  # leaves that say nothing, in a layer of others


def make_params(seed, dtype=jnp.float32, empty=EMPTY):
    """Two layers with two equal-shaped leaves among them, a convolution kernel, a scalar, leaves without numbers."""
    keys = jax.random.split(jax.random.key(seed), 5)
    shapes = {"kernel": (6, 4), "bias": (4,)}, {"kernel": (6, 4), "bias": (4,), "conv": (3, 3, 2, 4), "gain": ()}
    shapes[1].update(empty)
    return {
        name: {
            leaf: jax.random.normal(jax.random.fold_in(key, number), shape, dtype)
            for number, (leaf, shape) in enumerate(layer.items())
        }
        for name, key, layer in zip("ab", keys, shapes, strict=False)
    }


def individual(change, seed=0, dtype=jnp.float32, empty=EMPTY):
    params = make_params(seed, dtype, empty)
    return Individual(params, change.init(params))


def apply(change, seed=0, dtype=jnp.float32, empty=EMPTY):
    parent = individual(change, dtype=dtype, empty=empty)
    context = Context(jnp.int32(3), individual(change, 1, dtype, empty))
    child = change.apply(jax.random.key(seed), parent, context)
    return child._replace(params=dense(child.params))


@functools.cache
def compiled(name):
    """The child of a seed, as one program, and how often it was traced."""
    traces = []

    def make(seed):
        traces.append(seed)
        return apply(VARIATIONS[name], seed)

    return jax.jit(make), traces


every = pytest.mark.parametrize("name", VARIATIONS)


def some(step):
    """Contracts that take long are kept by all, and the default suite asks every third, sixth or ninth variation."""
    slow = pytest.mark.slow
    names = [pytest.param(name, marks=[slow] if number % step else []) for number, name in enumerate(VARIATIONS)]
    return pytest.mark.parametrize("name", names)


third, sixth, ninth = some(3), some(6), some(9)


@every
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_types_shapes_and_structure_are_kept(name, dtype):
    change = VARIATIONS[name]
    if name == "fresh" and dtype != jnp.float32:
        return  # its type is that of its own init
    parent, child = individual(change, dtype=dtype), jax.eval_shape(lambda: apply(change, dtype=dtype))
    chex.assert_trees_all_equal_shapes_and_dtypes(child, jax.eval_shape(lambda: parent))


@third
def test_same_key_same_child_other_key_other_child_one_trace(name):
    make, traces = compiled(name)
    children = [make(seed) for seed in range(3)]
    chex.assert_trees_all_equal(make(0), children[0])
    different = [not np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, children[:2]), strict=True)]
    assert any(different) or name in SILENT
    assert len(traces) == 1


@ninth
def test_jit_equals_eager_and_vmap_equals_a_loop(name):
    make, _ = compiled(name)
    together = jax.jit(jax.vmap(lambda seed: apply(VARIATIONS[name], seed)))(jnp.arange(2))
    chex.assert_trees_all_close(together, tree.stack([make(0), make(1)]), rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(apply(VARIATIONS[name], 0), make(0), rtol=1e-5, atol=1e-6)


@sixth
def test_leaves_without_numbers_change_nothing_for_the_others(name):
    if name == "fresh":
        return  # its leaves are those of its own init
    alone, beside = apply(VARIATIONS[name], 0, empty={}), compiled(name)[0](0)
    found = tree.named_leaves(beside.params)
    for leaf, expected in tree.named_leaves(alone.params).items():
        chex.assert_trees_all_close(found.pop(leaf), expected, rtol=1e-5, atol=1e-6)
    assert {leaf.removeprefix("b/"): values.shape for leaf, values in found.items()} == EMPTY


@ninth
def test_nothing_is_nan_on_the_way_and_every_step_works_without_jit(name):
    with jax.debug_nans(True), jax.disable_jit():
        child = apply(VARIATIONS[name], 0)
    chex.assert_trees_all_close(child, compiled(name)[0](0), rtol=1e-5, atol=1e-6)


@sixth
def test_the_same_child_in_double_precision(name):
    """Where JAX is set to 64 bits, parameters of 32 bits have the same children, bit for bit."""
    with jax.enable_x64(True):
        child = jax.jit(lambda seed: apply(VARIATIONS[name], seed))(jnp.int32(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(child, compiled(name)[0](0))
    chex.assert_trees_all_equal(child, compiled(name)[0](0))


@sixth
def test_parameters_may_be_in_double_precision(name):
    if name == "fresh":
        return  # its type is that of its own init
    change = VARIATIONS[name]
    with jax.enable_x64(True):
        parent, child = (
            jax.eval_shape(lambda make=make: make(change, dtype=jnp.float64)) for make in (individual, apply)
        )
    chex.assert_trees_all_equal_shapes_and_dtypes(child, parent)
    assert {leaf.dtype for leaf in jax.tree.leaves(child.params)} == {jnp.dtype(jnp.float64)}


@sixth
def test_parameters_of_numpy_have_a_strategy_too(name):
    arrays = make_params(0)
    expected = VARIATIONS[name].init(arrays)
    for dtype in (np.float32, np.float64):  # the latter are float32 to JAX
        params = jax.tree.map(lambda leaf, dtype=dtype: np.asarray(leaf, dtype), arrays)
        chex.assert_trees_all_close(VARIATIONS[name].init(params), expected, rtol=1e-6)
        chex.assert_trees_all_equal_dtypes(VARIATIONS[name].init(params), expected)


@every
def test_equal_shaped_leaves_get_different_noise(name):
    if "crossover" in name or name in {"masked low_rank", "row", "sparse", "one leaf", "one layer low_rank"}:
        return  # they do not move both, or take them as they are
    make, _ = compiled(name)
    parent = individual(VARIATIONS[name])
    for seed in range(5):
        steps = jax.tree.map(lambda new, old: np.asarray(new - old), make(seed).params, parent.params)
        if steps["a"]["kernel"].any():
            assert not np.allclose(steps["a"]["kernel"], steps["b"]["kernel"])
            return
    raise AssertionError("nothing moved")


# What the noises promise: equal standard deviation, and their distribution.

DISTRIBUTIONS = {
    "gaussian": (v.gaussian, stats.norm(scale=0.3)),
    "laplace": (v.laplace, stats.laplace(scale=0.3 / math.sqrt(2))),
    "uniform": (v.uniform, stats.uniform(-0.3 * math.sqrt(3), 0.6 * math.sqrt(3))),
}


def step_of(change, params, seed=0):
    parent = Individual(params, change.init(params))
    child = jax.jit(change.apply)(jax.random.key(seed), parent, Context(jnp.int32(0), parent))
    return jax.tree.map(jnp.subtract, dense(child.params), params)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_noise_has_its_distribution_and_standard_deviation(name):
    mutation, distribution = DISTRIBUTIONS[name]
    noise = np.asarray(step_of(mutation(v.absolute(0.3)), {"w": jnp.zeros(100_000)})["w"])
    assert stats.kstest(noise, distribution.cdf).pvalue > 1e-3
    assert abs(noise.std() / 0.3 - 1) < 0.01


@pytest.mark.parametrize("rank", [1, 4])
def test_low_rank_moves_every_weight_by_its_step_size(rank):
    keys = jnp.arange(400)
    steps = jax.vmap(lambda seed: step_of(v.low_rank(v.absolute(0.3), rank), {"w": jnp.zeros((30, 20))}, seed))(keys)
    assert abs(float(steps["w"].std()) / 0.3 - 1) < 0.01
    assert int(np.linalg.matrix_rank(np.asarray(steps["w"][0], np.float64), tol=1e-4)) == rank


def test_low_rank_keeps_the_parent_as_its_base():
    params = {"w": jnp.ones((5, 4)), "b": jnp.ones(4)}
    mutation = v.low_rank(v.absolute(0.1))
    parent = Individual(params, mutation.init(params))
    child = mutation.apply(jax.random.key(0), parent, Context(jnp.int32(0), parent))
    assert isinstance(child.params["w"], LowRank)
    assert child.params["w"].base is params["w"]
    assert not isinstance(child.params["b"], LowRank)


def test_relative_is_in_units_of_the_layer_at_initialisation():
    key = jax.random.key(0)
    params = {"kernel": 0.2 * jax.random.normal(key, (400, 300)), "bias": jnp.zeros(1000)}
    steps = step_of(v.gaussian(v.relative(0.5)), params)
    assert abs(float(steps["kernel"].std()) / 0.1 - 1) < 0.02
    assert abs(float(steps["bias"].std()) / 0.1 - 1) < 0.1  # starts at zero: takes the scale of its layer
    zero = v.relative(0.5).init({"w": jnp.zeros(3)})
    assert float(zero["w"]) == 0.5


def test_biases_evolve():
    steps = step_of(v.gaussian(v.relative(0.1)), {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)})
    assert (steps["bias"] != 0).all()


def affine(use_bias):
    """Points ``y = x W + (3, -2)``, a layer to fit them, and the least error that is possible without an offset."""
    key_inputs, key_weights = jax.random.split(jax.random.key(5))
    inputs = jax.random.normal(key_inputs, (40, 3))
    goals = inputs @ jax.random.normal(key_weights, (3, 2)) + jnp.array([3.0, -2.0])
    network = nn.MLP((2,), use_bias)

    def loss(key, params):
        del key
        return jnp.mean(jnp.sum((network.apply(params, inputs) - goals) ** 2, axis=-1))

    task = jaxga.Task(
        lambda key: network.init(key, inputs), lambda key, params: jaxga.Evaluation(-loss(key, params)), loss=loss
    )
    weights, *_ = np.linalg.lstsq(np.asarray(inputs), np.asarray(goals), rcond=None)
    return task, float(np.mean(np.sum((inputs @ weights - goals) ** 2, axis=-1)))


@pytest.mark.parametrize("use_bias", [True, False])
def test_an_offset_is_fitted_with_biases_and_not_without(use_bias):
    """By Adam and by the genetic algorithm alike: to nothing with biases, to what least squares leave without them."""
    task, least = affine(use_bias)
    assert least > 10  # about 3 ** 2 + 2 ** 2
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        params, _ = jaxga.baselines.gradient_descent(task, optax.adam(0.1), 300)
    change = v.gaussian(v.multiplicative(v.relative(0.1), up=1.3))
    evolved = jaxga.run(jaxga.ga(task.init, change, parents=1, children=32, elites=1), task, generations=200)
    expected = 0 if use_bias else least
    np.testing.assert_allclose(task.loss(None, params), expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(-evolved.state.best_fitness, expected, rtol=1e-3, atol=1e-3)


def moved(steps):
    return {name: int(jnp.sum(leaf != 0)) for name, leaf in tree.named_leaves(steps).items()}


@pytest.mark.parametrize("weights", [1, 7, 30])
def test_sparse_moves_exactly_so_many(weights):
    params = {"a": jnp.zeros((6, 4)), "b": jnp.zeros(10)}
    assert sum(moved(step_of(v.sparse(v.absolute(0.1), weights), params)).values()) == weights


def test_sparse_is_fair():
    params = {"a": jnp.zeros(6), "b": jnp.zeros(4)}
    found = jax.vmap(lambda seed: step_of(v.sparse(v.absolute(1.0)), params, seed))(jnp.arange(5000))
    counts = np.concatenate([(np.asarray(leaf) != 0).sum(0) for leaf in jax.tree.leaves(found)])
    assert stats.chisquare(counts).pvalue > 1e-3


def test_row_moves_one_row_of_one_array():
    params = {"a": jnp.zeros((6, 4)), "b": jnp.zeros(10)}
    for seed in range(10):
        assert moved(step_of(v.row(v.absolute(0.1)), params, seed)) in ({"a": 4, "b": 0}, {"a": 0, "b": 10})


def test_masked_and_one_at_a_time_change_nothing_else():
    params = make_params(0)
    masked = moved(step_of(VARIATIONS["masked"], params))
    assert {name for name, number in masked.items() if number} == {"a/kernel", "b/kernel"}
    for seed in range(5):
        leaf = moved(step_of(VARIATIONS["one leaf"], params, seed))
        assert sum(number > 0 for number in leaf.values()) == 1
        layer = moved(step_of(VARIATIONS["one layer low_rank"], params, seed))
        assert len({name[0] for name, number in layer.items() if number}) == 1


def test_a_mask_that_chooses_nothing_is_named():
    with pytest.raises(jaxga.InputError, match="mask chooses none of the leaves"):
        step_of(v.masked(v.gaussian(ABSOLUTE), lambda _: False), make_params(0))


def test_mixture_and_probability_keep_their_frequencies():
    params, seeds = {"w": jnp.zeros(4)}, jnp.arange(4000)
    parts = [(0.9, v.stateless(lambda _, p: {"w": p["w"] + 1})), (0.1, v.stateless(lambda _, p: {"w": p["w"] - 1}))]
    steps = jax.vmap(lambda seed: step_of(v.mixture(parts), params, seed))(seeds)["w"][:, 0]
    assert stats.binomtest(int((steps > 0).sum()), 4000, 0.9).pvalue > 1e-3
    rarely = v.with_probability(0.2, v.gaussian(ABSOLUTE))
    steps = jax.vmap(lambda seed: step_of(rarely, params, seed))(seeds)["w"][:, 0]
    assert stats.binomtest(int((steps != 0).sum()), 4000, 0.2).pvalue > 1e-3


@pytest.mark.parametrize("change", [VARIATIONS["normalised"], v.normalised(v.low_rank(ABSOLUTE), 0.5)])
def test_normalised_steps_have_exactly_their_length(change):
    steps = jax.tree.leaves(step_of(change, make_params(0)))
    assert abs(float(jnp.sqrt(sum(jnp.sum(step**2) for step in steps))) - 0.5) < 1e-5


def test_normalised_per_layer():
    nothing_first = v.chain(v.low_rank(v.absolute(0.0)), v.normalised(v.low_rank(ABSOLUTE), 0.5))
    whole = jax.tree.leaves(step_of(nothing_first, make_params(0)))
    assert abs(float(jnp.sqrt(sum(jnp.sum(step**2) for step in whole))) - 0.5) < 1e-5
    for layer in step_of(VARIATIONS["normalised low_rank"], make_params(0)).values():
        assert abs(float(jnp.sqrt(sum(jnp.sum(step**2) for step in layer.values()))) - 0.5) < 1e-5


# Self-adaptation.


def walk(step_size, times, params):
    strategy = step_size.init(params)
    for number in range(times):
        sizes, strategy = step_size.apply(jax.random.key(number), strategy, None)
    return sizes


def test_multiplicative_draws_up_stay_and_down_alike():
    params = {"a": {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}, "b": {"kernel": jnp.zeros((3, 2))}}
    step_size = v.multiplicative(v.absolute(1.0), up=2.0, down=4.0)
    sizes = jax.vmap(lambda seed: step_size.apply(jax.random.key(seed), step_size.init(params), None)[0])(
        jnp.arange(3000)
    )
    values, counts = np.unique(np.asarray(sizes["a"]["kernel"]).round(5), return_counts=True)
    assert values.tolist() == [0.25, 1.0, 2.0]
    assert stats.chisquare(counts).pvalue > 1e-3
    chex.assert_trees_all_equal(sizes["a"]["kernel"], sizes["a"]["bias"])  # one size a layer
    assert not np.array_equal(sizes["a"]["kernel"], sizes["b"]["kernel"])


def test_slow_step_sizes_change_in_every_fourth_generation_only():
    """Ten generations: they change in 0, 4 and 8, as often as those of three generations that always change."""
    slow, plain = (v.multiplicative(v.absolute(1.0), up=2.0, every=every) for every in (4, 1))
    strategy = slow.init(jnp.zeros(2))
    chex.assert_trees_all_equal_shapes_and_dtypes(strategy, plain.init(jnp.zeros(2)))

    def grown(step_size, generation, strategies):
        keys = jax.random.split(jax.random.key(generation), len(strategies["step_size"]))
        context = Context(jnp.int32(generation), None)
        return jax.vmap(lambda key, one: step_size.apply(key, one, context)[1])(keys, strategies)

    many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (3000, *leaf.shape)), strategy)
    changed, sizes = [], many
    for generation in range(10):
        before, sizes = sizes, grown(slow, generation, sizes)
        changed.append(bool((before["step_size"] != sizes["step_size"]).any()))
    assert changed == [generation % 4 == 0 for generation in range(10)]
    deviation = np.log2(np.asarray(sizes["step_size"])).std()
    assert abs(deviation / (3 * 2 / 3) ** 0.5 - 1) < 0.05
    chex.assert_trees_all_equal(grown(slow, 8, many), grown(plain, 8, many))


@pytest.mark.parametrize(
    ("per", "distinct"),
    [(v.per.individual, 1), (v.per.layer, 2), (v.per.leaf, 9), (v.per.parameter, 24 + 24 + 4 + 4 + 72 + 1)],
)
def test_who_shares_a_step_size(per, distinct):
    sizes = walk(v.log_normal(v.absolute(1.0), tau=0.5, per=per), 1, make_params(0))
    assert len(np.unique(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(sizes)]))) == distinct


def test_log_normal_walks_with_its_tau():
    sizes = walk(v.log_normal(v.absolute(1.0), tau=0.1), 25, {"w": jnp.zeros(20_000)})["w"]
    logs = np.log(np.asarray(sizes))
    assert abs(logs.std() / 0.5 - 1) < 0.03  # 0.1 * sqrt(25)
    assert abs(logs.mean()) < 0.02


def test_low_rank_refuses_one_step_size_a_weight():
    with pytest.raises(jaxga.InputError, match="low_rank takes one step size a leaf"):
        step_of(v.low_rank(v.log_normal(ABSOLUTE)), {"w": jnp.zeros((3, 2))})


def test_step_sizes_may_be_traced():
    sizes = jax.vmap(lambda sigma: v.absolute(sigma).init({"w": jnp.zeros(2)})["w"])(jnp.array([0.1, 0.2]))
    chex.assert_trees_all_close(sizes, jnp.array([0.1, 0.2]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: v.absolute(-0.1), "sigma is -0.1, and must be 0 or more"),
        (lambda: v.relative(float("nan")), "sigma is nan"),
        (lambda: v.multiplicative(ABSOLUTE, up=0.9), "up is 0.9, and must be 1 or more"),
        (lambda: v.multiplicative(ABSOLUTE, every=0), "every is 0, and must be 1 or more"),
        (lambda: v.low_rank(ABSOLUTE, rank=0), "rank is 0"),
        (lambda: v.sparse(ABSOLUTE, weights=0), "weights is 0"),
        (lambda: step_of(v.sparse(ABSOLUTE, weights=9), {"w": jnp.zeros(4)}), "weights is 9, and the network has 4"),
        (lambda: v.mixture([]), "mixture got no parts"),
        (lambda: v.average(0), "children is 0"),
    ],
)
def test_wrong_numbers_are_named(wrong, message):
    with pytest.raises(jaxga.InputError, match=message):
        wrong()


# Crossover.


def cross(by, seed=0, probability=0.5):
    zeros = jax.tree.map(jnp.zeros_like, make_params(0))
    ones = jax.tree.map(jnp.ones_like, zeros)
    change = v.uniform_crossover(by, probability)
    return change.apply(jax.random.key(seed), Individual(zeros, ()), Context(jnp.int32(0), Individual(ones, ()))).params


def test_crossover_takes_whole_genes():
    by_leaf, by_layer, by_neuron = (cross(by, seed=2) for by in (v.by_leaf, v.by_layer, v.by_neuron))
    assert all(len(np.unique(leaf)) == 1 for leaf in jax.tree.leaves(by_leaf) if leaf.size)
    assert len(np.unique(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(by_layer["b"])]))) == 1
    kernel, bias = by_neuron["b"]["kernel"], by_neuron["b"]["bias"]
    assert (kernel == bias).all()  # a neuron comes with all its weights and its bias
    assert (by_neuron["b"]["conv"] == bias).all()


@pytest.mark.parametrize("by", [v.by_weight, v.by_leaf, v.by_layer, v.by_neuron])
def test_crossover_takes_its_share_from_the_mate(by):
    taken = jax.vmap(lambda seed: cross(by, seed, 0.3)["a"]["kernel"][0, 0])(jnp.arange(3000))
    assert stats.binomtest(int(taken.sum()), 3000, 0.3).pvalue > 1e-3


# Averaging.


def test_weights_of_averages():
    fitness = jnp.array([4.0, 2.0, 1.0])
    chex.assert_trees_all_close(v.equal(fitness), jnp.full(3, 1 / 3))
    chex.assert_trees_all_close(v.by_fitness(fitness), jnp.array([0.75, 0.25, 0.0]))
    chex.assert_trees_all_close(v.by_fitness(jnp.ones(4)), jnp.full(4, 0.25))
    chex.assert_trees_all_close(v.by_centred_rank(fitness), jnp.array([0.5, 0.0, -0.5]) / 3)
    chex.assert_trees_all_close(v.by_fitness(jnp.array([jnp.inf, 3.0, 1.0])), jnp.array([0.5, 0.5, 0.0]))
    ranks = np.log(3.5) - np.log([1, 2, 3])
    chex.assert_trees_all_close(v.by_rank(fitness), jnp.asarray(ranks / ranks.sum(), jnp.float32), rtol=1e-5)


def crossed(change, one, other, seed):
    return np.asarray(change.apply(jax.random.key(seed), Individual(one), Context(0, Individual(other))).params["w"])


def test_slerp_is_on_the_arc_with_another_share_behind_the_split():
    one, other = ({"w": jax.random.normal(jax.random.key(seed), (50,))} for seed in (1, 2))
    a, b = (np.asarray(each["w"], np.float64) for each in (one, other))
    angle = np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    places, shares = [], []
    for seed in range(40):
        child = crossed(v.slerp(), one, other, seed)
        fits = []
        for share in (lambda w: w, lambda w: 1 - w):

            def arc(w, share=share):
                return (np.sin((1 - share(w)) * angle) * a + np.sin(share(w) * angle) * b) / np.sin(angle)

            grid = np.linspace(0, 1, 2001)
            errors = np.abs(np.stack([arc(w) for w in grid]) - child)
            fits.append(errors)
        both = [(np.concatenate([fits[0][row, :cut], fits[1][row, cut:]]).max(), row, cut)
                for row in range(0, 2001, 10) for cut in range(50)]  # fmt: skip
        error, row, cut = min(both)
        assert error < 0.02
        places.append(cut)
        shares.append(row / 2000)
    assert min(shares) < 0.2 < 0.8 < max(shares)
    assert min(places) < 10 < 40 < max(places)


def test_slerp_of_parallel_weights_and_of_none_is_a_straight_line():
    one = {"w": jnp.arange(1.0, 5.0)}
    for other in ({"w": 2 * one["w"]}, {"w": jnp.zeros(4)}, {"w": -one["w"]}):
        child = crossed(v.slerp(split=False), one, other, 0)
        share = (child - one["w"]) / (other["w"] - one["w"])
        np.testing.assert_allclose(share, share[0], rtol=1e-4)
        assert 0 < share[0] < 1


def test_a_line_leads_through_both_parents():
    one, other = {"w": jnp.array([1.0, 2.0])}, {"w": jnp.array([2.0, 4.0])}
    steps = np.array([crossed(v.line(0.5), one, other, seed) for seed in range(400)]) - [1, 2]
    np.testing.assert_allclose(steps[:, 1], 2 * steps[:, 0], rtol=1e-5)
    assert abs(steps[:, 0].std() - 0.5) < 0.05
    assert abs(steps[:, 0].mean()) < 0.08
