"""Step sizes, momentum, projections and safe steps: what each promises beside the contract, where answers are known."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxga
from jaxga import analysis
from jaxga import variation as v
from jaxga.base import Context, Individual
from jaxga.lowrank import LowRank, dense

KEY = jax.random.key(0)
KEYS = jax.random.split(KEY, 500)


def at(generation, params, change):
    individual = Individual(params, change.init(params))
    return individual, Context(jnp.int32(generation), individual)


def steps(change, params, generation=0, keys=KEYS):
    individual, context = at(generation, params, change)
    return jax.jit(jax.vmap(lambda key: change.apply(key, individual, context).params - params))(keys)


def bowl(scales):
    """A quadratic, from a random start at distance about sqrt(n)."""
    scales = jnp.asarray(scales, jnp.float32)

    def evaluate(key, w):
        del key
        return jaxga.Evaluation(-jnp.sum(scales * w**2))

    return jaxga.Task(lambda key: jax.random.normal(key, scales.shape), evaluate)


def test_a_schedule_multiplies_the_size():
    schedule = optax.cosine_decay_schedule(1.0, 100, 0.1)
    change = v.gaussian(v.scheduled(v.absolute(0.3), schedule))
    for generation in (0, 50, 100, 500):
        expected = 0.3 * float(schedule(generation))
        assert abs(float(steps(change, jnp.zeros(200), generation).std()) / expected - 1) < 0.02


def test_the_success_rule_counts_generations_without_success():
    size = v.success_rule(v.absolute(1.0), up=1.5, target=0.2)
    params = jnp.zeros(3)
    strategy = size.init(params)
    sizes, child = size.apply(KEY, strategy, Context(jnp.int32(0), None))
    assert abs(float(sizes) - 1) < 1e-6
    born_now = float(size.apply(KEY, child, Context(jnp.int32(1), None))[0])
    assert abs(born_now - 1.5) < 1e-5  # replaced its parent: longer steps
    after_four = float(size.apply(KEY, child, Context(jnp.int32(5), None))[0])
    assert abs(after_four - 1) < 1e-5  # one success and four failures: 1/5, back where it was


def test_the_success_rule_keeps_the_sphere_near_its_optimal_step_size():
    """(1 + 1) on the sphere: the best step sizes shorten the distance by 0.202 / n a step (Rechenberg 1973)."""
    n = 20
    task = bowl(np.ones(n))
    change = v.gaussian(v.success_rule(v.absolute(0.01), up=1.5))
    algorithm = jaxga.ga(task.init, change, parents=1, children=1, elites=1)
    result = jaxga.run(algorithm, task, generations=600)
    rates = np.diff(np.log(-result.history["best_fitness"][100:])).mean() / 2 * n
    assert rates < -0.202 / 1.5


def best_size_on_the_sphere(n, children, draws=4000):
    """The step size, in units of the distance R over n, that shortens R most, if the best of so many steps is taken.

    By drawing: a step of size s has a part s z along the way in, and s^2 chi2 across it.
    """
    random = np.random.default_rng(0)
    z, across = random.normal(size=(draws, children)), random.chisquare(n - 1, size=(draws, children))
    sizes = np.geomspace(0.2, 20, 60)
    rates = [np.mean(np.log(((1 - s / n * z) ** 2 + (s / n) ** 2 * across).min(axis=1))) for s in sizes]
    return sizes[np.argmin(rates)]


def test_self_adaptation_settles_near_the_best_step_size_of_the_sphere():
    """Within a factor of two of the best for (1, 64), whether it began far below or far above."""
    n, children = 100, 64
    best, task = best_size_on_the_sphere(n, children), bowl(np.ones(n))
    assert abs(best / analysis.expected_top(children) - 1) < 0.15  # in many dimensions it is c(1, children)
    for first in (0.001, 5.0):
        change = v.gaussian(v.multiplicative(v.absolute(first), up=1.3, per=v.per.individual))
        algorithm = jaxga.ga(task.init, change, parents=1, children=children)
        history = jaxga.run(algorithm, task, generations=300).history
        distance = np.sqrt(-history["fitness"])
        settled = np.median((history["step_size"][1:] * n / distance[:-1])[150:])
        assert best / 2 < settled < 2 * best
        assert distance[-1] < distance[0] / 100


@pytest.mark.slow
def test_rates_grow_where_weights_count_and_drift_where_inputs_are_dead():
    """One neuron, nine of ten of its inputs zero, and its answer far from the goal.

    The logarithms of dead weights walk unseen: mean 0 and deviation ``tau sqrt(G)`` after G generations.
    """
    inputs = jnp.where(jnp.arange(100) < 10, 1.0, 0.0)
    task = jaxga.Task(lambda _: jnp.zeros(100), lambda _, w: jaxga.Evaluation(-((jnp.vdot(w, inputs) - 1e6) ** 2)))
    change = v.gaussian(v.log_normal(v.absolute(0.01), tau=0.2, per=v.per.parameter))
    algorithm = jaxga.ga(task.init, change, parents=1, children=64)
    best = jaxga.run(algorithm, task, generations=100).best
    logs = np.log(np.asarray(best.strategy["step_size"]) / 0.01)
    live, dead, deviation = logs[:10], logs[10:], 0.2 * 100**0.5
    assert abs(dead.mean()) < 3 * deviation / 90**0.5
    assert abs(dead.std() / deviation - 1) < 0.25
    assert live.mean() > 3 * deviation / 10**0.5
    assert dead.mean() < live.mean()


@pytest.mark.slow
def test_the_warm_up_moves_step_sizes_and_no_weights():
    task = bowl(np.ones(5))
    change = v.gaussian(v.multiplicative(v.absolute(0.01), up=1.5, per=v.per.individual))
    algorithm = jaxga.ga(task.init, change, parents=2, children=32, warmup=10)
    begun = jax.jit(algorithm.init)(KEY)
    warm = jaxga.run(algorithm, task, KEY, generations=10)
    chex.assert_trees_all_equal(warm.state.parents.params, begun.parents.params)
    sizes = warm.state.parents.strategy["step_size"]
    assert (sizes > 0.02).all()  # longer steps found better children
    assert np.isnan(warm.state.fitness).all()
    after = jaxga.run(algorithm, task, KEY, generations=12)
    assert (after.state.parents.params != begun.parents.params).all()
    replayed = jaxga.pedigree.replay(algorithm, after.pedigree)
    chex.assert_trees_all_equal(replayed.parents, after.state.parents)


@pytest.mark.slow
def test_the_pedigree_file_knows_about_the_warm_up(tmp_path):
    task = bowl(np.ones(5))
    change = v.gaussian(v.multiplicative(v.absolute(0.1)))
    for recombination in (None, v.average(4)):
        algorithm = jaxga.ga(task.init, change, parents=1, children=8, warmup=3, recombination=recombination)
        result = jaxga.run(algorithm, task, generations=6)
        path = jaxga.pedigree.save(result.pedigree, tmp_path / "pedigree.npz")
        replayed = jaxga.pedigree.replay(algorithm, jaxga.pedigree.load(path))
        chex.assert_trees_all_equal(replayed.parents, result.state.parents)


@pytest.mark.slow
def test_momentum_is_faster_on_an_ellipsoid():
    task = bowl(10.0 ** (3 * np.arange(12) / 11))
    plain = v.gaussian(v.multiplicative(v.absolute(0.1), up=1.3, per=v.per.individual))

    def make(momentum):
        return jaxga.ga(task.init, v.momentum(plain) if momentum else plain, parents=1, children=24)

    runs = jaxga.run_many(make, task, generations=200, seeds=20, grid={"momentum": [False, True]})
    without, with_it = (runs.metrics["fitness"][mask, -1] for _, mask in runs.groups())
    assert np.median(with_it) > 2 * np.median(without)  # fitness is negative: less than half of the loss is due
    assert np.median(with_it) > np.median(without) / 2


def norm(array, axis=None):
    return np.linalg.norm(np.asarray(array, np.float64), axis=axis)


def aged_by(change, start, keys=10_000):
    """What so many mutations make of it, one upon the other; or those of an array of keys."""
    individual, _ = at(0, start, change)

    def step(individual, key):
        return change.apply(key, individual, Context(jnp.int32(0), individual)), None

    keys = jax.random.split(KEY, keys) if isinstance(keys, int) else keys
    return jax.jit(lambda keys: jax.lax.scan(step, individual, keys)[0].params)(keys)


def test_rotations_turn_two_weights_and_can_be_undone():
    """As the matrix of Givens does; 10,000 of them keep the norm to 1e-6, and the same ones backwards undo them."""
    forth, back = v.rotation(v.absolute(1.0)), v.rotation(v.scheduled(v.absolute(1.0), lambda _: -1.0))
    with jax.enable_x64(True):
        keys = jax.random.split(KEY, 10_000)
        start = jax.random.normal(KEY, (4, 3), jnp.float64)
        turned = np.asarray(aged_by(forth, start, keys[:1]))
        moved = np.flatnonzero(turned != start)
        assert len(moved) == 2
        (a, b), (c, d) = np.asarray(start).flat[moved], turned.flat[moved]
        angle = np.arctan2(a * d - b * c, a * c + b * d)
        givens = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        np.testing.assert_allclose(givens @ [a, b], [c, d], rtol=1e-12)
        np.testing.assert_allclose(aged_by(back, turned, keys[:1]), start, rtol=1e-14)
        far = aged_by(forth, start, keys)
        assert abs(norm(far) / norm(start) - 1) < 1e-6
        assert norm(far - start) > 1
        np.testing.assert_allclose(aged_by(back, far, keys[::-1]), start, atol=1e-6)


def test_projections_keep_what_they_promise_over_many_generations():
    changes = {
        "keep_norm": v.projected(v.gaussian(v.absolute(0.1)), v.keep_norm),
        "rows": v.projected(v.gaussian(v.absolute(0.1)), v.sphere(2.0, axis=-1)),
        "rotation": v.rotation(v.absolute(1.0)),
        "torus": v.projected(v.gaussian(v.absolute(0.5)), v.torus(1.0)),
    }
    start = 0.5 * jax.random.normal(KEY, (4, 3))
    aged = {name: aged_by(change, start) for name, change in changes.items()}
    roundings = 10_000**0.5 * 2**-24  # that add up as a random walk: 6e-6
    assert abs(norm(aged["keep_norm"]) / norm(start) - 1) < roundings
    assert abs(norm(aged["rotation"]) / norm(start) - 1) < roundings
    np.testing.assert_allclose(norm(aged["rows"], axis=-1), 2.0, rtol=1e-6)
    assert (jnp.abs(aged["torus"]) <= 1).all()
    for params in aged.values():
        assert (params != start).all()
    np.testing.assert_allclose(v.decay(0.25)(start, start), 0.75 * start)
    assert (v.keep_norm(start, jnp.zeros((4, 3))) == start).all()  # a bias at first


def test_proportional_steps_follow_the_weights():
    change = v.proportional(v.gaussian(v.absolute(0.1)))
    params = {"small": jnp.full(100, 0.01), "large": jnp.full(100, 3.0), "zero": jnp.zeros(100)}
    individual, context = at(0, params, change)
    children = jax.jit(jax.vmap(lambda key: change.apply(key, individual, context).params))(KEYS)
    for name, scale in (("small", 0.01), ("large", 3.0), ("zero", 3.0)):
        assert abs(float((children[name] - params[name]).std()) / (0.1 * scale) - 1) < 0.03


INPUTS = jax.random.normal(KEY, (7, 5))


def answers(params):
    return jnp.tanh(INPUTS @ jnp.asarray(params["first"])) @ jnp.asarray(params["second"])


@pytest.fixture(scope="module")
def two_layers():
    return {"first": jax.random.normal(KEY, (5, 6)), "second": jax.random.normal(jax.random.key(1), (6, 3))}


@pytest.mark.parametrize("target", [0.01, 0.3])
@pytest.mark.parametrize("mutation", [v.gaussian(v.absolute(0.1)), v.low_rank(v.absolute(3.0))])
def test_rescaled_steps_change_the_outputs_by_the_target(two_layers, target, mutation):
    change = v.safe_rescale(mutation, answers, target)
    individual, context = at(0, two_layers, change)
    child = change.apply(KEY, individual, context).params
    assert isinstance(child["first"], LowRank) == isinstance(
        mutation.apply(KEY, *at(0, two_layers, mutation)).params["first"], LowRank
    )

    def divergence(key):
        new = dense(change.apply(key, individual, context).params)
        return jnp.sqrt(jnp.mean((answers(new) - answers(two_layers)) ** 2))

    found = jax.jit(jax.vmap(divergence))(KEYS[:50])
    np.testing.assert_allclose(found, target, rtol=0.01)


def test_sensitivities_are_those_of_the_jacobian(two_layers):
    jacobian = jax.jacrev(answers)(two_layers)  # [B, O, ...]
    by_sum, by_magnitude = (jax.jit(lambda p, s=s: s(answers, p))(two_layers) for s in (v.of_sum, v.of_magnitude))
    for name in two_layers:
        slopes = np.asarray(jacobian[name])
        np.testing.assert_allclose(by_sum[name], np.sqrt((slopes.sum(0) ** 2).sum(0)), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(
            by_magnitude[name], np.sqrt((np.abs(slopes).mean(0) ** 2).sum(0)), rtol=1e-4, atol=1e-6
        )


def test_safe_steps_spare_what_was_learned():
    """At equal length, safe steps change the outputs of a deep network less than plain ones."""
    keys = jax.random.split(KEY, 6)
    params = [jax.random.normal(key, (8, 8)) * (3.0 if number % 2 else 0.3) for number, key in enumerate(keys)]
    inputs = jax.random.normal(jax.random.key(1), (20, 8))

    def outputs(params):
        x = inputs
        for kernel in params:
            x = jnp.tanh(x @ kernel)
        return x

    plain = v.gaussian(v.absolute(0.05))
    safe = v.safe_gradient(plain, outputs, v.of_magnitude, limit=1e9)

    def harm(change):
        normalised = v.normalised(change, 1.0)
        individual, context = at(0, params, normalised)

        def one(key):
            return jnp.mean((outputs(normalised.apply(key, individual, context).params) - outputs(params)) ** 2)

        return float(jnp.median(jax.jit(jax.vmap(one))(KEYS[:200])))

    assert harm(safe) < harm(plain) / 2
