"""Networks made of parts: a gene changes one, the others are the parent's, and nothing of this shows in a score."""

import jax
import jax.numpy as jnp
import networks
import numpy as np
import pytest
from flax import linen
from networks import STEPS, memorizing

import jaxga
from jaxga import nn, variation
from jaxga.base import Context
from jaxga.lowrank import Member, OfMember, dense, is_low_rank, step_leaf
from jaxga.variation import absolute, gaussian, low_rank, masked, mixture, one_of, per

OUTPUTS = jnp.array([[[1.0, 5.0, 0.0]], [[2.0, 3.0, 1.0]]])  # of two members, for one example


def test_what_is_made_of_the_members():
    soft = np.exp(1) / (1 + np.exp(1))
    expected = {
        nn.mean: [1.5, 4.0, 0.5],
        nn.total: [3.0, 8.0, 1.0],
        nn.largest_logit: [1.0, 5.0, 0.0],
        nn.importance: [2.0, 3.0],
        nn.attention: [1 + soft, 5 - 2 * soft],
    }
    for combine, answer in expected.items():
        np.testing.assert_allclose(combine(OUTPUTS)[0], answer, rtol=1e-6)


def test_an_ensemble_is_its_members_and_its_head():
    x = jax.random.normal(jax.random.key(0), (4, 5))
    head, member = linen.Dense(3), nn.MLP((4, 2 + 3))
    network = nn.Ensemble(member, 2, nn.mean, head=head, states=2)
    params = network.init(jax.random.key(1), x)["params"]
    of = [member.apply({"params": jax.tree.map(lambda w, m=m: w[m], params["members"])}, x) for m in (0, 1)]
    mean = (of[0] + of[1]) / 2
    answer = head.apply({"params": params["head"]}, mean[:, :2]) + mean[:, 2:]
    np.testing.assert_allclose(network.apply({"params": params}, x), answer, rtol=1e-5, atol=1e-6)
    assert not np.allclose(params["members"]["Dense_0"]["kernel"][0], params["members"]["Dense_0"]["kernel"][1])


def ensemble(combine=nn.mean, outputs=10):
    return nn.Ensemble(nn.MLP((4, outputs)), 3, combine)


DEEP = linen.Sequential([linen.Dense(6), nn.Stack(nn.Residual(4), 3), linen.Dense(10)])
KERNELS = masked(one_of(STEPS), lambda path: path[-1] == "kernel")
LAYER = one_of(STEPS, "layers", of_brood=True)
BIASES = masked(one_of(STEPS), lambda path: path[-1] == "bias")
CHANGES = {
    "one of low rank": (ensemble(), one_of(STEPS)),
    "one, dense": (ensemble(nn.importance, 11), one_of(gaussian(absolute(0.1)))),
    "all of low rank": (ensemble(), STEPS),
    "twice": (ensemble(), variation.chain(one_of(STEPS), one_of(STEPS))),
    "once more, in part": (ensemble(), variation.chain(one_of(STEPS), KERNELS)),
    "kernels and biases of two": (ensemble(), variation.chain(KERNELS, BIASES)),
    "kernels or biases": (ensemble(), mixture([(1, KERNELS), (1, BIASES)])),
    "one or all": (ensemble(), mixture([(1, one_of(STEPS)), (1, STEPS)])),
    "leaf by leaf": (ensemble(), variation.one_at_a_time(one_of(STEPS), per.leaf)),
    "normalised": (ensemble(), variation.normalised(one_of(STEPS), 0.5)),
    "a layer of a child": (DEEP, one_of(STEPS, "layers")),
    "a layer of a brood": (DEEP, LAYER),
    "a layer of a brood, dense": (DEEP, one_of(gaussian(absolute(0.1)), "layers", of_brood=True)),
    "a layer, and the last": (DEEP, variation.chain(LAYER, masked(STEPS, lambda p: "layers_2" in p))),
}  # fmt: skip


# The default suite asks for one of each way in which leaves may meet.
USUAL_CHANGES = ("one of low rank", "once more, in part", "kernels or biases", "one or all", "a layer of a brood")


@pytest.mark.parametrize(
    "kind",
    [pytest.param(kind, marks=[] if kind in USUAL_CHANGES else [pytest.mark.slow]) for kind in CHANGES],
)
def test_children_score_as_their_arrays_do(kind):
    network, change = CHANGES[kind]
    task = memorizing(network)
    algorithm = jaxga.ga(task.init, change, parents=2, children=12)
    state = algorithm.init(jax.random.key(0))
    found = jax.jit(jaxga.vmapped(algorithm, task, 3))(state).fitness
    children = jaxga.population(algorithm, state).params
    expected = jax.jit(jax.vmap(lambda params: task.evaluate(jax.random.key(0), params).fitness))(children)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert len(np.unique(np.asarray(found))) > 6


def child_of(change, params, seed=0):
    parent = jaxga.Individual(params, change.init(params))
    context = Context(jnp.int32(0), parent, jax.random.key(7))
    return parent, change.apply(jax.random.key(seed), parent, context)


PARAMS = {"members": {"kernel": jnp.ones((4, 3, 2)), "bias": jnp.zeros((4, 2))}, "head": jnp.ones(2)}


def test_a_gene_touches_one_member_and_its_step_sizes():
    change = one_of(low_rank(variation.log_normal(absolute(0.1), per=per.leaf)))
    touched = set()
    for seed in range(12):
        parent, child = child_of(change, PARAMS, seed)
        params = dense(child.params)
        moved = (params["members"]["kernel"] != 1).any(axis=(1, 2))
        assert moved.sum() == 1
        np.testing.assert_array_equal((params["members"]["bias"] != 0).any(axis=1), moved)
        np.testing.assert_array_equal(params["head"], PARAMS["head"])
        for old, new in zip(jax.tree.leaves(parent.strategy), jax.tree.leaves(child.strategy), strict=True):
            assert ((old != new).reshape(4, -1).any(axis=1) <= moved).all()
        touched.add(int(moved.argmax()))
    assert len(touched) > 2


def test_children_of_a_brood_change_the_same_part():
    change = one_of(gaussian(absolute(0.1)), of_brood=True)
    moved = [child_of(change, PARAMS, seed)[1].params["members"]["kernel"].index for seed in range(6)]
    assert len({int(index) for index in moved}) == 1


def test_who_takes_leaves_apart_builds_them():
    _, child = child_of(one_of(STEPS), PARAMS)
    assert all(isinstance(leaf, Member) for leaf in jax.tree.leaves(child.params["members"], is_leaf=is_low_rank))
    for change in (KERNELS, variation.one_at_a_time(one_of(STEPS), per.leaf)):
        leaves = jax.tree.leaves(child_of(change, PARAMS)[1].params["members"], is_leaf=is_low_rank)
        assert not any(isinstance(leaf, Member) for leaf in leaves)
    whole = masked(one_of(STEPS), lambda path: "members" in path)
    assert isinstance(child_of(whole, PARAMS)[1].params["members"]["bias"], Member)


def test_the_step_of_a_member():
    base = jnp.arange(6.0).reshape(3, 2)
    leaf = Member(base, jnp.int32(1), jnp.array([5.0, 5.0]))
    step = step_leaf(leaf, base)
    assert isinstance(step, OfMember)
    assert step.step.tolist() == [3.0, 2.0]


def flops(change, combine=nn.mean):
    task = memorizing(nn.Ensemble(nn.MLP((32, 32, 10)), 8, combine))
    algorithm = jaxga.ga(task.init, change, parents=1, children=64)
    evaluator = jaxga.vmapped(algorithm, task, 64)
    compiled = (
        jax.jit(lambda source: evaluator(source).fitness).lower(algorithm.init(jax.random.key(0)).source).compile()
    )
    return compiled.cost_analysis()["flops"]


def test_a_child_that_changes_one_of_eight_members_costs_an_eighth():
    assert flops(one_of(gaussian(absolute(0.1)))) <= 1.5 / 8 * flops(gaussian(absolute(0.1)))


def test_what_is_frozen_stays():
    free = {"members": {"kernel": np.arange(4)[:, None, None] == 2, "bias": False}, "head": True}
    _, child = child_of(variation.frozen(gaussian(absolute(0.1)), free), PARAMS)
    moved = child.params["members"]["kernel"] != PARAMS["members"]["kernel"]
    np.testing.assert_array_equal(moved.any(axis=(1, 2)), [False, False, True, False])
    np.testing.assert_array_equal(child.params["members"]["bias"], 0)
    assert (child.params["head"] != 1).all()


def test_what_may_change_is_inherited_and_evolves():
    change = variation.freezing(gaussian(absolute(0.1)), 0.5, per.leaf)
    children = [child_of(change, PARAMS, seed) for seed in range(8)]
    some = lambda free: 0 < sum(map(int, jax.tree.leaves(free))) < 3  # noqa: E731
    parent, child = next(pair for pair in children if some(pair[1].strategy["free"]))
    free = child.strategy["free"]
    for one, old, new in zip(*map(jax.tree.leaves, (free, parent.params, child.params)), strict=True):
        assert bool((old != new).any()) == bool(one)
    again = change.apply(jax.random.key(9), child, Context(jnp.int32(1), child))
    assert any(bool(a) != bool(b) for a, b in zip(*map(jax.tree.leaves, (free, again.strategy["free"])), strict=True))


X = jnp.zeros((1, 5))
REFUSED = {
    "no leaf": (lambda: child_of(one_of(STEPS, "parts"), PARAMS), "one_of finds no leaf whose path has 'parts'"),
    "counts": (lambda: child_of(one_of(STEPS, lambda path: bool(path)), PARAMS), r"\[2, 4\] parts"),
    "no brood": (
        lambda: one_of(STEPS, of_brood=True).apply(
            jax.random.key(0), (parent := child_of(one_of(STEPS), PARAMS)[0]), Context(jnp.int32(0), parent)
        ),
        "needs the key of a brood",
    ),
    "free, tree": (lambda: child_of(variation.frozen(STEPS, {"a": True}), PARAMS), "free is a tree"),
    "free, dtype": (
        lambda: child_of(variation.frozen(STEPS, jax.tree.map(lambda _: 1, PARAMS)), PARAMS),
        r"free is int64\[\] for leaf 'head', and bools",
    ),
    "members": (lambda: nn.Ensemble(linen.Dense(2), 0).init(jax.random.key(0), X), "members is 0"),
    "states": (lambda: nn.Ensemble(linen.Dense(2), 2, states=1).init(jax.random.key(0), X), "states is for a head"),
    "too many states": (
        lambda: nn.Ensemble(linen.Dense(2), 2, head=linen.Dense(2), states=3).init(jax.random.key(0), X),
        "states is 3, and the members' combined outputs are 2",
    ),
    "shape": (lambda: nn.Stack(linen.Dense(2), 2).init(jax.random.key(0), X), "layers of a stack keep the shape"),
    "statistics": (
        lambda: nn.Ensemble(linen.BatchNorm(use_running_average=True), 2).init(jax.random.key(0), X),
        "member has the variables .*batch_stats",
    ),
    "oracle": (
        lambda: jaxga.tasks.along_gradient(networks.memorizing(nn.MLP((10,)))._replace(loss=None)), "the task has none"
    ),
    "compare": (lambda: jaxga.against(networks.memorizing(nn.MLP((10,))), 3), "compare is 3"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_refusals(kind):
    wrong, message = REFUSED[kind]
    with pytest.raises(jaxga.InputError, match=message):
        wrong()


def test_explain_says_where_layers_are_built():
    task = memorizing(DEEP)
    for of_brood in (False, True):
        algorithm = jaxga.ga(task.init, one_of(STEPS, "layers", of_brood=of_brood), parents=1, children=8)
        leaves = {leaf.name: leaf for leaf in jaxga.explain(algorithm, task).leaves}
        assert leaves["params/layers_1/layers/Dense_0/kernel"].in_parts is of_brood
