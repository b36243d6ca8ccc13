"""What a user's own functions and arguments may get wrong is named: in one sentence, with the way out."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxga
from jaxga import analysis, baselines, memory, nn, tasks
from jaxga import variation as v
from jaxga.base import Context, Individual, Variation

A = v.absolute(0.1)
G = v.gaussian(A)
PARAMS = {"layer": {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}, "gain": jnp.float32(1)}
UNIT = r"a step size needs a unit: absolute\(0.1\) is in units of the weights, relative\(0.1\)"
DUE = r"where a variation is due: gaussian\(absolute\(0.1\)\) is one, and stateless\(function\) makes one"


def child(change, params=PARAMS):
    parent = Individual(params, change.init(params))
    return change.apply(jax.random.key(0), parent, Context(jnp.int32(0), parent)).params


def refused(make, message):
    with pytest.raises(jaxga.InputError, match=message) as caught:
        jax.eval_shape(lambda: child(make()))  # as in a run: while it is traced
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "function",
    [
        *(v.gaussian, v.laplace, v.uniform, v.sparse, v.row, v.low_rank, v.rotation),
        *(v.multiplicative, v.log_normal, v.success_rule),
    ],
)
def test_a_step_size_needs_a_unit(function):
    refused(lambda: function(0.1), rf"^{function.__name__} got 0.1 as its step size, and {UNIT}")
    refused(lambda: function(G), rf"^{function.__name__} got a Variation as its step size")
    refused(lambda: function(v.absolute), rf"^{function.__name__} got the function absolute as its step size")


@pytest.mark.parametrize(
    ("make", "who"),
    [
        (lambda: v.scheduled(0.1, lambda _: 1.0), "scheduled"),
        (lambda: v.adaptive(0.1, lambda _, shape: jnp.zeros(shape), v.per.leaf), "adaptive"),
        (lambda: v.additive(jax.random.cauchy, 0.1), "additive"),
        (lambda: v.scaled(0.1, lambda *arguments: arguments[1]), "scaled"),
        (lambda: memory.gene(memory.walk, 0.1), "gene"),
        (lambda: memory.mixed(step_size=0.1), "gene"),
    ],
)
def test_a_step_size_needs_a_unit_wherever_it_is_taken(make, who):
    refused(make, f"^{who} got 0.1 as its step size, and {UNIT}")


def mutate(key, params):
    del key
    return params


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: v.chain(A), f"^chain got a StepSize {DUE}"),
        (lambda: v.chain(G, mutate), f"^chain got the function mutate {DUE}"),
        (lambda: v.chain(v.gaussian), "^chain got the function gaussian where"),
        (lambda: v.chain(), "chain got no variations"),
        (
            lambda: v.masked(lambda path: path[-1] == "bias", G),
            r"masked got the function <lambda> at test_refusals.py:\d+",
        ),
        (lambda: v.one_at_a_time(A, v.per.leaf), "^one_at_a_time got a StepSize"),
        (lambda: v.with_probability(G, 0.5), "^with_probability got 0.5 where"),
        (lambda: v.mixture([(1.0, A)]), "^mixture got a StepSize where"),
        (lambda: v.mixture([G, G]), r"mixture got a Variation as a part: give it \(weight, variation\) pairs"),
        (lambda: v.mixture([(0, G), (0.0, G)]), r"mixture got the weights \[0, 0.0\], of which one"),
        (lambda: v.momentum(A), "^momentum got a StepSize where"),
        (lambda: v.proportional(None), "^proportional got None where"),
        (lambda: v.normalised(0.5, G), "^normalised got 0.5 where"),
        (lambda: v.projected(v.keep_norm, G), "^projected got the function keep_norm where"),
        (lambda: v.safe_gradient(A, lambda _: jnp.zeros((2, 3))), "^safe_gradient got a StepSize where"),
        (lambda: v.safe_rescale(A, lambda _: jnp.zeros((2, 3)), 0.1), "^safe_rescale got a StepSize where"),
        (
            lambda: v.stateless(G),
            r"the argument of stateless is a Variation, and must be a function of \(key, params\)",
        ),
        (lambda: v.fresh(PARAMS), "init is a dict, and must be a function of a key"),
        (lambda: v.fixed(0.1), "init is 0.1, and must be a function of the params: a fixed number is absolute"),
        (lambda: v.scheduled(A, 0.5), "schedule is 0.5, and must be a function of the generation"),
        (
            lambda: v.multiplicative(A, per="layer"),
            "per is 'layer', and must be a function of a path, such as per.leaf",
        ),
        (lambda: v.one_at_a_time(G, "layer"), "per is 'layer', and must be a function of a path"),
        (lambda: v.uniform_crossover("neuron"), r"by is 'neuron', and must be a function of \(key, path, shape, prob"),
        (lambda: v.masked(G, "bias"), "mask is 'bias', and must be a function of a path"),
        (lambda: v.projected(G, "norm"), "projection is 'norm', and must be a function of"),
        (lambda: v.with_probability(1.5, G), "probability is 1.5, and must be 1 or less"),
        (lambda: v.uniform_crossover(probability=2), "probability is 2, and must be 1 or less"),
        (lambda: v.momentum(G, memory=1), "memory is 1, and must be below 1"),
        (lambda: v.success_rule(A, target=1.0), "target is 1.0, and must be below 1"),
        (lambda: memory.gene([memory.walk, memory.turn]), "gene got the function walk as a part"),
        (lambda: memory.gene([(1.0, "walk")]), r"change is 'walk', and must be a function of \(head, size, noise\)"),
        (lambda: memory.gene(memory.walk, choose=memory.in_use), "choose is the function in_use: take any_head"),
    ],
)
def test_arguments_that_are_something_else_are_named(make, message):
    refused(make, message)


def wider(key, params):
    del key
    return {**params, "layer": {**params["layer"], "bias": jnp.zeros(3)}}


def halved(key, params):
    del key
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float16), params)


def lost(key, params):
    del key
    return {"layer": params["layer"]}


def as_variation(function):
    """A full variation of a user."""
    return Variation(lambda _: (), lambda key, parent, _: parent._replace(params=function(key, parent.params)))


def column(key, path, shape, probability):
    del key, path, probability
    return jnp.ones((7, *shape), bool)


def share(key, path, shape, probability):
    del key, path
    return jnp.full(shape, probability)


def sized(shape):
    return v.fixed(lambda params: jax.tree.map(lambda leaf: jnp.zeros(shape, leaf.dtype), params))


def bad_steps(key, shape, dtype):
    del dtype
    return jax.random.randint(key, shape, 0, 2)


def last(child, parent, generation):
    del parent, generation
    return child[-1:] if child.ndim == 1 else child


BIAS = r"returned leaf 'layer/bias' as float32\[3\], and float32\[2\] was due"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: v.stateless(wider), f"^mutation wider {BIAS}"),
        (lambda: v.stateless(halved), r"^mutation halved returned leaf 'gain' as float16\[\], and float32\[\] was due"),
        (lambda: v.stateless(lost), "^mutation lost returned no leaf 'gain', which was due"),
        (lambda: v.stateless(lambda *_: None), r"^mutation <lambda> at test_refusals.py:\d+ returned a tree None"),
        (lambda: v.fresh(lambda key: wider(key, PARAMS)), rf"^init <lambda> at test_refusals.py:\d+ {BIAS}"),
        (lambda: v.scaled(A, lambda key, params, _: wider(key, params)), rf"^mutation <lambda> at .*:\d+ {BIAS}"),
        (lambda: v.chain(G, as_variation(wider)), f"^variation <lambda> at test_refusals.py.* {BIAS}"),
        (lambda: v.mixture([(1, G), (1, as_variation(wider))]), f"^variation <lambda> at test_refusals.py.* {BIAS}"),
        (lambda: v.masked(as_variation(lost), lambda _: True), "^variation <lambda> at .* returned no leaf 'gain'"),
        (
            lambda: v.chain(Variation(lambda _: jnp.zeros(2), lambda *args: args[1]._replace(strategy=jnp.zeros(3)))),
            r"^the strategy of variation <lambda> at .* returned float32\[3\], and float32\[2\] was due",
        ),
        (
            lambda: v.chain(Variation(lambda _: (), lambda *arguments: arguments[1].params)),
            "^variation <lambda> at .* returned a dict, and an Individual was due",
        ),
        (lambda: v.additive(bad_steps, A), r"^noise bad_steps returned leaf 'gain' as int32\[\], and float32\[\]"),
        (lambda: v.uniform_crossover(column), r"^crossover column returned bool\[7\] for leaf 'gain', and a bool mask"),
        (lambda: v.uniform_crossover(share), r"^crossover share returned float32\[\] for leaf 'gain', and a bool mask"),
        (
            lambda: v.projected(G, last),
            r"^projection last returned leaf 'layer/bias' as float32\[1\], and float32\[2\]",
        ),
        (
            lambda: v.projected(G, lambda leaf, *_: leaf.sum()),
            r"^projection <lambda> at .* 'layer/bias' as float32\[\]",
        ),
        (
            lambda: v.gaussian(sized((3,))),
            r"^step size .* returned leaf 'gain' as float32\[3\], and float32\[\] was due",
        ),
        (lambda: v.gaussian(v.fixed(lambda _: jnp.ones(()))), r"^step size .* returned a tree \*, and .* was due"),
        (
            lambda: v.gaussian(v.adaptive(A, lambda *_: jnp.zeros(5), v.per.leaf)),
            r"^log_factor <lambda> at .* returned shape \(5,\), and \(\), which it got, was due",
        ),
        (
            lambda: v.gaussian(v.scheduled(A, lambda _: jnp.ones(2))),
            r"^schedule <lambda> at .* returned shape \(2,\), and one number, \(\), was due",
        ),
        (
            lambda: v.masked(G, lambda path: path[0] or None),
            r"^mask <lambda> at .* returned 'gain' for the path \('gain',\)",
        ),
        (
            lambda: v.masked(G, lambda _: None),
            r"^mask <lambda> at .* returned None for the path .*, and a bool was due",
        ),
        (
            lambda: v.safe_gradient(G, lambda params: params["layer"]["bias"]),
            r"^outputs <lambda> .* returned shape \(2,\)",
        ),
        (
            lambda: v.rotation(v.log_normal(A, per=v.per.parameter)),
            "rotation takes one angle a leaf, not one a weight: use per=per.leaf",
        ),
    ],
)
def test_functions_of_a_user_that_return_something_else_are_named(make, message):
    refused(make, message)


def test_numbers_of_python_and_arrays_of_numpy_will_do():
    def mixed(key, params):
        del key
        return {"gain": 2.0, "layer": {"kernel": np.full((3, 2), 3.0), "bias": params["layer"]["bias"] + 4}}

    for change in (v.stateless(mixed), v.chain(as_variation(mixed)), v.fresh(lambda key: mixed(key, PARAMS))):
        found = child(change)
        expected = {"gain": np.float32(2), "layer": {"kernel": np.full((3, 2), 3.0), "bias": np.full(2, 4.0)}}
        chex.assert_trees_all_equal(found, jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), expected))
        chex.assert_trees_all_equal_shapes_and_dtypes(found, PARAMS)


HEAD = memory.PrototypeMemory(2, heads=3)


def test_a_change_of_a_head_that_returns_something_else_is_named():
    params = HEAD.init(jax.random.key(0), jnp.zeros((1, 4)))

    def longer(head, size, noise):
        del size, noise
        return head._replace(memory=jnp.zeros(5))

    for change in (longer, memory.of_prototype(longer)):
        with pytest.raises(
            jaxga.InputError, match=r"change .*longer returned leaf 'memory' as float32\[5\], and float32\[4\]"
        ):
            child(memory.gene(change), params)


X = np.linspace(-1, 1, 8).reshape(4, 2)
NETWORK = nn.MLP((3,))
POLE = tasks.cartpole()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: tasks.labelled(NETWORK, X, [0, 1, 2, 3]),
            "labels go up to 3, and the network has 3 outputs, .* layer 4",
        ),
        (
            lambda: tasks.labelled(NETWORK, X, [0, 1, -1, 2]),
            "labels begin with -1, and must be classes, counted from 0",
        ),
        (lambda: tasks.labelled(HEAD, X, [0, 1, 2, 1]), "labels go up to 2, and the network has 2 outputs"),
        (lambda: tasks.labelled(NETWORK, X, [0.0, 1, 2, 1]), "labels have dtype float32, and must be classes, 0 to 2"),
        (
            lambda: tasks.labelled(NETWORK, X * np.nan, [0] * 4),
            "inputs hold 8 numbers that are NaN",
        ),
        (lambda: tasks.labelled(NETWORK, X + np.inf, [0] * 4), "inputs hold 8 numbers that are NaN or infinite"),
        (lambda: tasks.labelled(NETWORK, X + 1j, [0] * 4), "inputs have dtype complex64, and must be real numbers"),
        (lambda: tasks.labelled(NETWORK, X[:0], []), r"inputs have shape \(0, 2\), and must hold a number"),
        (lambda: tasks.labelled(NETWORK, X[:, :0], [0] * 4), r"inputs have shape \(4, 0\), and must hold a number"),
        (
            lambda: tasks.memorization(nn.MLP((4,)), points=64, shape=(5,)),
            "labels go up to 9, and the network has 4 outp",
        ),
        (lambda: tasks.control(NETWORK, POLE), "environment is 'MLP', and must be an Environment"),
        (lambda: tasks.control("CartPole-v1", NETWORK), "environment is 'CartPole-v1', .* tasks.from_gymnax"),
        (lambda: tasks.statistics(NETWORK), "environment is 'MLP', and must be an Environment"),
        (
            lambda: jaxga.ga(lambda _: PARAMS, G, parents=1, children=2, founders=PARAMS),
            r"founders is a dict, and must be a function .*: trained_founders\(params\) makes one of weights",
        ),
        (
            lambda: jaxga.ga(lambda _: PARAMS, G, parents=1, children=2, mates="best"),
            r"mates is 'best', and must be a function of \(key, source, slot\)",
        ),
        (
            lambda: jaxga.ga(lambda _: PARAMS, G, parents=1, children=2, viable=True),
            "viable is True, and must be None or a function of an Individual",
        ),
        (
            lambda: jaxga.ga(POLE.init, G, parents=1, children=2),
            r"is no task: .* tasks.control\(environment, network\)",
        ),
        (
            lambda: tasks.mix(
                {"a": (1.0, tasks.labelled(NETWORK, X, [0] * 4)), "b": (1.0, tasks.labelled(HEAD, X, [0] * 4))}
            ),
            "init of the part 'b' of mix, whose parts share one network, returned no leaf 'params/Dense_0/bias'",
        ),
        (
            lambda: tasks.mix({"a": tasks.labelled(NETWORK, X, [0] * 4)}),
            r"got a Task as its part 'a', and \(weight, task\)",
        ),
        (
            lambda: tasks.mix({"a": (np.nan, tasks.labelled(NETWORK, X, [0] * 4))}),
            "mix got the weight nan for its part 'a'",
        ),
        (
            lambda: baselines.gradient_descent(tasks.control(POLE, nn.MLP((2,))), optax.sgd(0.1), 3),
            "task has no loss, and gradient descent needs one",
        ),
        (lambda: baselines.gradient_descent(POLE, optax.sgd(0.1), 3), "task is a Environment, and must be a Task"),
        (
            lambda: baselines.gradient_descent(tasks.labelled(NETWORK, X, [0] * 4), optax.sgd, 3),
            "optimiser is .*sgd.*, and must be one of optax",
        ),
        (lambda: analysis.cosine({"w": jnp.zeros(3)}), "direction has length 0.0, and must have a finite one above 0"),
        (lambda: analysis.drift(1, 4), "carriers is 0 of 1 parents"),
        (lambda: analysis.fit_distributions({"w": np.array([0.0, np.nan])}), "leaf 'w' holds NaN or infinity"),
    ],
)
def test_tasks_and_questions_that_cannot_be_are_named(make, message):
    with pytest.raises(jaxga.InputError, match=message):
        make()


def test_labels_may_be_of_any_integer_type():
    expected = tasks.labelled(NETWORK, X, [0, 1, 1, 0])
    params = expected.init(jax.random.key(0))
    for labels in (np.array([0, 1, 1, 0], np.uint8), np.array([False, True, True, False])):
        found = tasks.labelled(NETWORK, X, labels)
        chex.assert_trees_all_equal(found.evaluate(None, params), expected.evaluate(None, params))


def test_a_best_size_is_never_one_that_has_no_fitness():
    gains = np.array([[np.nan, 1.0, 2.0], [np.nan, 3.0, np.nan]])
    assert analysis.improvement.StepSizeSearch(np.array([0.1, 0.2, 0.3]), gains).best == 0.2  # 2 and 2: the first
    changes = analysis.improvement.Improvements(np.array([0.1, 0.2]), np.array([[np.nan, 5.0], [1.0, 1.0]]))
    assert changes.expected_best(10_000).tolist() == [5.0, 1.0]  # of so many the best is a number
    assert changes.best_size(10_000) == 0.1


def test_a_cosine_of_one_harms_nobody():
    chance = analysis.chance_of_harm(np.array([np.nextafter(1, 2), 1.0, 0.0, -1.0]), 16)
    np.testing.assert_allclose(chance, [0, 0, 0.5, 1])


def test_arrays_without_numbers_have_no_distribution():
    values = np.random.default_rng(0).normal(size=100)
    assert list(analysis.fit_distributions({"w": values, "none": np.zeros((0, 5))})) == ["w"]


def test_groups_by_their_old_names_still_work_and_say_the_new_one():
    with pytest.warns(DeprecationWarning, match=r"jaxga.variation.leaf is jaxga.variation.per.leaf now"):
        assert v.leaf is v.per.leaf
    with pytest.raises(AttributeError, match="has no attribute 'leave'"):
        v.leave  # noqa: B018
