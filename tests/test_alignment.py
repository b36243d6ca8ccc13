"""Another order of hidden units is undone exactly, and what is made of it: crossover, the line between, first units."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

import jaxga
from jaxga import nn, tree, variation
from jaxga.alignment import align, aligned, any_share, canonical, first_units, interpolate, ordered_dropout
from jaxga.base import Context, Individual, InputError

DENSE = "Dense_0", "Dense_1", "Dense_2", "Dense_3"
NETWORKS = {  # a network, the shape of its input, and its layers in order
    "dense": (nn.MLP((7, 5, 9, 3)), (6,), DENSE),
    "without bias": (nn.MLP((5, 3), use_bias=False), (4,), DENSE[:2]),
    "one unit": (nn.MLP((1, 1, 2)), (3,), DENSE[:3]),
    "convolutions": (nn.ConvNet(3, (5, 7), (3, 2), (1, 2), 6, "SAME"), (5, 6, 2), ("Conv_0", "Conv_1", *DENSE[:2])),
    "pooled, without bias": (nn.ConvNet(2, (3,), (3,), (1,), 5, "SAME", 2, False), (6, 4, 1), ("Conv_0", *DENSE[:2])),
}


def normal(like, seed):
    """Normal numbers for every leaf, biases too."""
    draw = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(draw.normal(size=leaf.shape), jnp.float32), like)


def example(name, seed=0):
    network, shape, layers = NETWORKS[name]
    like = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *shape)))
    return network, normal(like, seed), layers


def shuffled(params, layers, seed=0):
    """Hidden units in another order, written anew; and which unit went where."""
    draw, new, orders = np.random.default_rng(seed), jax.tree.map(np.array, params), []
    for layer, following in itertools.pairwise(layers):
        one, other = new["params"][layer], new["params"][following]
        order = draw.permutation(one["kernel"].shape[-1])
        for leaf in one:
            one[leaf] = one[leaf][..., order]
        rows = other["kernel"].shape[-2]  # of a dense layer after a convolution: positions times channels
        other["kernel"] = other["kernel"][..., np.arange(rows).reshape(-1, len(order))[:, order].ravel(), :]
        orders.append(order)
    return jax.tree.map(jnp.asarray, new), orders


@pytest.mark.parametrize("name", NETWORKS)
def test_an_order_is_undone_exactly(name):
    network, params, layers = example(name)
    other, _ = shuffled(params, layers)
    inputs = np.random.default_rng(1).normal(size=(4, *NETWORKS[name][1])).astype(np.float32)
    chex.assert_trees_all_equal(align(params, other), params)
    chex.assert_trees_all_equal(canonical(other), canonical(params))
    for same in (other, canonical(params)):
        chex.assert_trees_all_close(network.apply(same, inputs), network.apply(params, inputs), rtol=1e-3, atol=1e-3)


def test_canonical_order_is_by_what_comes_in():
    _, params, layers = example("convolutions")
    ordered = canonical(params)["params"]
    for layer in layers[:-1]:
        kernel, bias = ordered[layer]["kernel"], ordered[layer]["bias"]
        lengths = (kernel.reshape(-1, bias.size) ** 2).sum(axis=0) + bias**2
        assert (np.diff(lengths) <= 0).all()
    ties = {"a": {"kernel": jnp.array([[0.0, 1.0, -1.0]])}, "b": {"kernel": jnp.array([[1.0], [2.0], [3.0]])}}
    turned = {"a": {"kernel": jnp.array([[-1.0, 1.0, 0.0]])}, "b": {"kernel": jnp.array([[3.0], [2.0], [1.0]])}}
    chex.assert_trees_all_equal(canonical(ties), canonical(turned))


def test_many_at_once_in_one_program():
    _, params, layers = example("dense")
    ours = [normal(params, seed) for seed in range(3)]
    theirs = [shuffled(one, layers, seed)[0] for seed, one in enumerate(ours)]
    both = tree.stack(ours), tree.stack(theirs)
    chex.assert_trees_all_equal(jax.jit(jax.vmap(align))(*both), both[0])
    chex.assert_trees_all_equal(jax.jit(jax.vmap(canonical))(both[1]), jax.vmap(canonical)(both[0]))


def product(one, other):
    return sum(float(jnp.vdot(*pair)) for pair in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))


def test_networks_that_differ_come_as_near_as_an_assignment_can():
    _, one, layers = example("without bias")
    other = normal(one, 1)
    kernels = [[np.asarray(params["params"][layer]["kernel"]) for layer in layers] for params in (one, other)]
    likeness = kernels[0][0].T @ kernels[1][0] + kernels[0][1] @ kernels[1][1].T
    best = likeness[linear_sum_assignment(-likeness)].sum()
    np.testing.assert_allclose(product(one, align(one, other)), best, rtol=1e-5)
    _, one, _ = example("convolutions")
    for other in (normal(one, 1), normal(one, 2)):
        sums = [product(one, params) for params in (other, align(one, other, sweeps=0), align(one, other))]
        assert sums[2] >= sums[1] - 1e-3
        assert sums[2] > sums[0]


def test_activations_are_matched():
    network, params, layers = example("dense")
    other, orders = shuffled(params, layers)
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(50, 6)), jnp.float32)
    _, seen = network.apply(params, inputs, capture_intermediates=True, mutable=["intermediates"])
    mine = [seen["intermediates"][layer]["__call__"][0] for layer in layers[:-1]]
    theirs = [7 + 2 * layer[:, order] for layer, order in zip(mine, orders, strict=True)]  # their scale is another
    chex.assert_trees_all_equal(align(params, other, activations=(mine, theirs)), params)
    silent = [layer.at[:, 0].set(1.0) for layer in mine], [layer.at[:, 0].set(1.0) for layer in theirs]
    chex.assert_tree_all_finite(align(params, other, activations=silent))
    for wrong in ((mine[:2], theirs[:2]), (mine, theirs[::-1]), mine):
        with pytest.raises(InputError, match="for every hidden layer, whose units are"):
            align(params, other, activations=wrong)


def test_layers_may_be_named_and_the_rest_stays():
    _, params, layers = example("without bias")
    other, _ = shuffled(params, layers)
    extra = {"policy": params, "log_std": jnp.ones(2)}, {"policy": other, "log_std": jnp.zeros(2)}
    found = align(*extra, layers=[f"params/{layer}" for layer in layers])
    chex.assert_trees_all_equal(found, extra[0] | {"log_std": extra[1]["log_std"]})
    names = dict(zip(layers, ("Dense_9", "Dense_10"), strict=True))
    renamed = [{names[layer]: one["params"][layer] for layer in layers} for one in (params, other)]
    chex.assert_trees_all_equal(align(*renamed), renamed[0])


def kernel(*shape, **more):
    return {"kernel": np.ones(shape, np.float32)} | {name: np.ones(size, np.float32) for name, size in more.items()}


CONVOLUTION, ONE = kernel(3, 3, 1, 4), kernel(3, 4)


@pytest.mark.parametrize(
    ("params", "layers", "message"),
    [
        ({"Dense_0": ONE, "Dense_1": kernel(5, 2)}, None, "'Dense_1' takes 5 inputs, and 'Dense_0' before it has 4"),
        ({"Conv_0": CONVOLUTION, "Dense_0": kernel(10, 2)}, None, "'Dense_0' takes 10 .* has 4 units: name the lay"),
        ({"Conv_0": CONVOLUTION, "Conv_1": kernel(3, 3, 8, 2)}, None, "'Conv_1' takes 8 inputs"),
        ({"Dense_0": ONE, "Norm_0": {"scale": np.ones(4)}}, None, r"'Norm_0' .* the leaves \['scale'\]"),
        ({"Dense_0": kernel(3, 4, bias=(4,), gain=(4,))}, None, r"the leaves \['bias', 'gain', 'kernel'\]"),
        ({"Dense_0": kernel(3, 4, bias=(3,))}, None, r"a bias of shape \(3,\) and a kernel of shape \(3, 4\)"),
        ({"Dense_0": kernel(3)}, None, r"a kernel of shape \(3,\)"),
        ({"Dense_0": ONE}, ("Dense_1",), r"layers has 'Dense_1', and the layers of params are \['Dense_0'\]"),
        ({"a": {"x": ONE}, "b": {"x": ONE}}, ("x",), r"has 'x', and params has \['a/x', 'b/x'\]: write"),
        ({"Dense_0": ONE}, (), "params has no layers"),
        (ONE["kernel"], None, "has the leaves"),
    ],
)
def test_what_is_no_chain_is_refused(params, layers, message):
    for refuse in (lambda: align(params, params, layers=layers), lambda: canonical(params, layers)):
        with pytest.raises(InputError, match=message):
            refuse()


def test_two_shapes_and_wrong_numbers_are_refused():
    _, params, _ = example("dense")
    _, other, _ = example("without bias")
    with pytest.raises(InputError, match=r"reference and params differ in leaf .*, \(7,\) and absent"):
        align(params, other)
    with pytest.raises(InputError, match="a and b differ in leaf"):
        interpolate(jnp.sum, params, other)
    with pytest.raises(InputError, match="points is 1, and must be 2 or more"):
        interpolate(jnp.sum, params, params, points=1)
    with pytest.raises(InputError, match="sweeps is -1"):
        align(params, params, sweeps=-1)
    with pytest.raises(InputError, match="task is 3, and must be a Task, or a loss"):
        ordered_dropout(3)


def test_numbers_that_are_not_finite_end_the_search():
    _, params, _ = example("dense")
    for wrong in (jnp.nan, jnp.inf):
        align(params, jax.tree.map(lambda leaf, wrong=wrong: leaf.at[..., 1].set(wrong), params))


def test_the_barrier_to_a_copy_in_another_order_falls_to_nothing():
    network, params, layers = example("dense")
    other, _ = shuffled(params, layers)
    inputs = jnp.asarray(np.random.default_rng(1).normal(size=(50, 6)), jnp.float32)
    goals = network.apply(params, inputs)

    def loss(params):
        return jnp.mean((network.apply(params, inputs) - goals) ** 2)

    before, after = (interpolate(loss, params, mate) for mate in (other, align(params, other)))
    assert before.losses.shape == before.at.shape == (25,)
    np.testing.assert_allclose(
        before.barrier, before.losses.max() - before.losses[jnp.array([0, -1])].mean(), rtol=1e-6
    )
    np.testing.assert_allclose(after.losses, 0, atol=1e-6)


def test_a_child_of_a_parent_and_its_own_copy_is_the_parent():
    _, params, layers = example("without bias")
    other, _ = shuffled(params, layers)
    crossover = variation.uniform_crossover(variation.by_neuron)
    parent, context = Individual(params), Context(jnp.int32(0), Individual(other))

    def children(change):
        keys = jax.random.split(jax.random.key(0), 5)
        return jax.jit(jax.vmap(lambda key: change.apply(key, parent, context).params))(keys)

    alike = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (5, *leaf.shape)), params)
    chex.assert_trees_all_equal(children(aligned(crossover)), alike)
    plain = children(crossover)["params"]
    assert not np.array_equal(plain["Dense_1"]["kernel"], alike["params"]["Dense_1"]["kernel"])


def test_aligned_crossover_is_a_variation_like_others(task):
    crossover = aligned(variation.uniform_crossover(variation.by_neuron))
    change = variation.chain(variation.low_rank(variation.relative(0.1)), crossover)
    algorithm = jaxga.ga(task.init, change, parents=2, children=4, founders=jaxga.random_founders)
    children = jaxga.population(algorithm, algorithm.init(jax.random.key(0)))
    chex.assert_tree_all_finite(children.params)
    with pytest.raises(InputError, match="aligned got 3 where a variation is due"):
        aligned(3)


def test_first_units_alone_answer():
    network, params, layers = example("convolutions")
    inputs = np.random.default_rng(1).normal(size=(4, 5, 6, 2)).astype(np.float32)
    small = jax.tree.map(np.array, params)["params"]
    for layer, units in zip(layers, (3, 4, 3, 3), strict=True):  # half of 5, 7 and 6, rounded up; outputs stay
        small[layer] = {name: leaf[..., :units] for name, leaf in small[layer].items()}
    small["Conv_1"]["kernel"] = small["Conv_1"]["kernel"][:, :, :3]
    positions = np.arange(params["params"]["Dense_0"]["kernel"].shape[0]).reshape(-1, 7)
    small["Dense_0"]["kernel"] = small["Dense_0"]["kernel"][positions[:, :4].ravel()]
    small["Dense_1"]["kernel"] = small["Dense_1"]["kernel"][:3]
    narrow = nn.ConvNet(3, (3, 4), (3, 2), (1, 2), hidden=3, padding="SAME")
    expected = narrow.apply({"params": small}, inputs)
    chex.assert_trees_all_close(network.apply(first_units(params, 0.5), inputs), expected, rtol=1e-4, atol=1e-4)
    chex.assert_trees_all_equal(first_units(params, 1.0), params)


def test_ordered_dropout_draws_how_many(task, params):
    key = jax.random.key(3)
    key_share, key_rest = jax.random.split(key)
    dropped, part = ordered_dropout(task), first_units(params, any_share(key_share))
    chex.assert_trees_all_close(dropped.score(key, params), task.score(key_rest, part), rtol=1e-5)
    np.testing.assert_allclose(dropped.loss(key, params), task.loss(key_rest, part), rtol=1e-6)
    paired = ordered_dropout(jaxga.paired(task)).score(jaxga.Trial(key, parent=params), params)
    assert float(paired.fitness) == 0  # the parent has as few units
    slope = jax.grad(ordered_dropout(task.loss, share=lambda _: 0.25), argnums=1)(key, params)
    assert not slope["params"]["Dense_0"]["kernel"][:, 2:].any()
    shares = jax.vmap(any_share)(jax.random.split(key, 400))
    assert (float(shares.min()) > 0) & (float(shares.max()) <= 1) & (abs(float(shares.mean()) - 0.5) < 0.05)
