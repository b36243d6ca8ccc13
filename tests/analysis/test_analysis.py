"""Every analysis on cases whose answer is known in closed form, or was planted."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import jaxga
from jaxga import analysis, data, memory, nn, tasks
from jaxga import variation as v
from jaxga.analysis import lineage
from jaxga.base import Context
from jaxga.lowrank import dense

KEY = jax.random.key(0)


def gaussian(size):
    return v.gaussian(v.absolute(size))


def bowl(n, noise=0.0):
    """Minus the square of the distance from zero, seen through noise that is the same for a whole generation or not."""

    def evaluate(key, w):
        height = -jnp.sum(w**2)
        return jaxga.Evaluation(height + noise * jax.random.normal(key) if noise else height)

    return jaxga.Task(lambda key: jax.random.normal(key, (n,)), evaluate, jaxga.independent)


def test_cosines_of_random_steps_have_deviation_one_over_sqrt_n():
    direction = {"a": jax.random.normal(KEY, (20, 30)), "b": jnp.ones(100)}
    answer = analysis.cosine(direction, samples=8192)
    assert answer.weights == 700
    assert abs(answer.values.std() * 700**0.5 - 1) < 0.02
    assert stats.kstest(answer.values / answer.expected, "norm").pvalue > 0.01


@pytest.mark.parametrize(("children", "best"), [(256, 1), (256, 64), (16, 16), (1, 1)])
def test_expected_order_statistics_are_those_of_draws(children, best):
    draws = np.sort(np.random.default_rng(0).normal(size=(4000, children)), axis=1)[:, -best:].mean(axis=1)
    assert abs(analysis.expected_top(children, best) - draws.mean()) < 5 * draws.std() / 4000**0.5


@pytest.fixture(scope="module")
def digits():
    return data.digits()


@pytest.mark.slow
def test_the_best_of_k_hurts_as_often_as_the_closed_form_says(digits):
    """Within three points, at the correlation that is measured; and averaging helps as it says."""
    network = nn.MLP((10,))
    minibatch, full = (tasks.classification(network, digits, batch=batch) for batch in (8, None))
    params = jaxga.baselines.gradient_descent(full, optax.sgd(0.5), 20)[0]
    answer = analysis.best_of(minibatch, full, params, children=256, average=(1, 2, 64), repeats=1000)
    assert 0.05 < answer.correlation.mean() < 0.6
    harm = answer.harm()
    for measured, theory in harm.values():
        assert abs(measured - theory) < 0.03
    assert harm[64][0] < harm[1][0] / 2
    size = 650**-0.5
    assert abs(answer.chosen.mean() / (analysis.expected_top(256) * size) - 1) < 0.02


def test_angles_are_those_of_the_experiment():
    """A minibatch that is all data has an angle of 0 to it, and the best of k steps that of the closed form."""
    n, children = 400, 256
    task = bowl(n)._replace(loss=lambda _, w: jnp.sum(w**2))
    answer = analysis.best_of(task, task, jnp.ones(n), children=children, average=(1,), repeats=200)
    gradients, step = answer.angles.values()
    np.testing.assert_allclose(gradients, 0, atol=0.1)  # a cosine of 1 - 1e-7 is 0.03 degrees
    expected = np.degrees(np.arccos(analysis.expected_top(children) / n**0.5))  # 81.9
    assert abs(step.mean() - expected) < 4 * step.std() / 200**0.5


def test_angles_are_drawn_in_degrees():
    """Cosines of 30, 45 and 60 degrees, and of 90 and 120."""
    answer = analysis.BestOf(np.sqrt([0.75, 0.5, 0.25]), np.array([0.0, -0.5, 0.0]), {1: np.zeros(3)}, 4)
    axes = answer.plot().axes[-1]
    assert "degrees" in axes.get_xlabel()
    expected = [30, 45, 60], [90, 120]
    for bars, angles in zip(axes.containers, expected, strict=True):
        filled = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars if bar.get_height() > 0]
        assert len(filled) == len(angles)
        assert all(low - 1e-6 <= angle <= high + 1e-6 for (low, high), angle in zip(filled, angles, strict=True))


def test_fits_recover_what_was_planted():
    rng = np.random.default_rng(0)
    fits = analysis.fit_distributions(
        {"laplace": rng.laplace(scale=1 / 89, size=50_000), "normal": rng.normal(0.1, 2.0, size=50_000)}
    )
    assert abs(1 / fits["laplace"].laplace[1] / 89 - 1) < 0.02
    assert fits["laplace"].better == "Laplace"
    assert fits["laplace"].shapiro < 1e-6
    assert np.allclose(fits["normal"].normal, (0.1, 2.0), atol=0.03)
    assert fits["normal"].better == "normal"
    assert fits["normal"].shapiro > 0.01


def test_improvements_on_a_quadratic_are_those_of_theory():
    """From w, a step of size s changes -|w|^2 by -2 s |w| z - s^2 chi2(n): P(improve) = P(2 |w| z + s chi2 < 0)."""
    n, distance = 100, 2.0
    params = jnp.zeros(n).at[0].set(distance)
    answer = analysis.improvements(bowl(n), params, gaussian, [0.001, 0.02, 0.1], samples=4000)
    rng = np.random.default_rng(1)
    z, rest = rng.normal(size=200_000), rng.chisquare(n - 1, size=200_000)
    for size, chance, changes in zip(answer.sizes, answer.chance, answer.changes, strict=True):
        drawn = -2 * size * distance * z - size**2 * (z**2 + rest)
        assert abs(chance - np.mean(drawn > 0)) < 0.03
        assert abs(changes.mean() - drawn.mean()) < 6 * drawn.std() / 4000**0.5
        best = np.sort(drawn.reshape(-1, 16), axis=1)[:, -1].mean()
        found = answer.expected_best(16)[list(answer.sizes).index(size)]
        assert abs(found - best) < 0.05 * max(abs(best), drawn.std())
    assert answer.best_size(16) == pytest.approx(0.02)


def test_networks_share_one_program():
    """The mutation is traced once, for however many networks its improvements are asked."""
    traced = []

    def mutation(size):
        traced.append(size)
        return gaussian(size)

    task, zeros = bowl(6), jnp.zeros(6)
    first, *others = (
        analysis.improvements(task, zeros + place, mutation, sizes, key=seed, samples=8)
        for place, sizes, seed in ((0.0, [0.1], 0), (1.0, [0.1], 0), (0.0, [0.2], 0), (0.0, [0.1], 1))
    )
    assert len(traced) == 1
    assert all((first.changes != other.changes).all() for other in others)
    alone = analysis.improvements(task, zeros + 1.0, lambda size: gaussian(size), [0.1], samples=8)
    np.testing.assert_array_equal(alone.changes, others[0].changes)


def test_the_best_generation_size_of_a_plane_is_two():
    """Where half of all steps go up, E[max of k] / k is 0.56 for 2 (0.282 a child), 0.26 for 4, and falls."""
    plane = jaxga.Task(lambda _: jnp.zeros(30), lambda _, w: jaxga.Evaluation(w[0]))
    answer = analysis.improvements(plane, jnp.zeros(30), gaussian, [1.0], samples=8000)
    rates = answer.per_evaluation([2, 4, 16, 64])
    expected = [analysis.expected_top(k) / k for k in (2, 4, 16, 64)]
    np.testing.assert_allclose(rates, expected, rtol=0.06)
    assert rates.argmax() == 0


def test_the_search_for_a_first_step_size_finds_the_best_one():
    task = bowl(30)
    answer = analysis.first_step_size(task, gaussian, initialisations=16, children=32)
    expected = analysis.improvements(task, jnp.ones(30), gaussian, answer.sizes, samples=4000).best_size(32)
    assert answer.gains.shape == (16, 13)
    assert expected / 2.2 < answer.best < expected * 2.2


@pytest.mark.slow
def test_the_oracle_shortens_its_steps_and_its_schedule_can_be_replayed():
    task, sizes = bowl(10), np.logspace(-3, 0.5, 8)
    oracle = analysis.oracle_schedule(task, gaussian, sizes, generations=120, children=16)
    assert np.isclose(oracle.sizes[:, None], sizes, rtol=1e-4).any(axis=1).all()
    assert (np.diff(oracle.fitness) <= 0).sum() < 120  # not stuck
    assert np.median(oracle.sizes[-20:]) < np.median(oracle.sizes[:20]) / 3

    def make(kind):
        size = v.scheduled(v.absolute(1.0), oracle.schedule) if kind == "oracle" else v.absolute(0.3)
        return jaxga.ga(task.init, v.gaussian(size), parents=1, children=16)

    runs = jaxga.run_many(make, task, generations=120, seeds=10, grid={"kind": ["oracle", "constant"]})
    led, constant = (np.median(runs.metrics["fitness"][mask, -1]) for _, mask in runs.groups())
    assert led > constant / 10  # minus a tenth of its distance


@pytest.fixture(scope="module")
def learned():
    """A run that improves throughout: 30 generations on a noiseless bowl, two parents."""
    task = bowl(20)
    algorithm = jaxga.ga(task.init, gaussian(0.1), parents=2, children=64, elites=1)
    return task, algorithm, jaxga.run(algorithm, task, generations=30)


def test_effects_along_a_lineage_are_its_true_fitness(learned):
    task, algorithm, result = learned
    effects = analysis.lineage_effects(algorithm, result.pedigree, task)
    lineage = jaxga.pedigree.ancestors(algorithm, result.pedigree)[::-1]
    np.testing.assert_allclose(effects.fitness[1:], [link.fitness for link in lineage], rtol=1e-4)
    counts = effects.counts(1e-5)
    assert counts["beneficial"] > 10
    assert sum(counts.values()) == 30
    assert abs(effects.changes.sum() - (effects.fitness[-1] - effects.fitness[0])) < 1e-3


@pytest.mark.slow
def test_effects_of_averaged_children_and_of_founders():
    task = bowl(20)
    for extra in ({"recombination": v.average(8)}, {"founders": jaxga.random_founders}):
        algorithm = jaxga.ga(task.init, gaussian(0.1), parents=1, children=32, **extra)
        result = jaxga.run(algorithm, task, generations=12)
        effects = analysis.lineage_effects(algorithm, result.pedigree, task)
        assert len(effects.changes) == (12 if "recombination" in extra else 11)
        final = -float(jnp.sum(result.best.params**2))
        assert abs(effects.fitness[-1] - final) < 1e-4


@pytest.mark.slow
def test_robustness_is_what_a_mutation_costs(learned):
    task, algorithm, result = learned
    answer = analysis.robustness(algorithm, result.pedigree, task, gaussian(0.5), samples=512)
    assert answer.generations.tolist() == [1, 4, 8, 11, 15, 19, 22, 26, 30]
    np.testing.assert_allclose(answer.drop, 20 * 0.25, rtol=0.15)  # of a quadratic n s^2, wherever one is
    assert (np.diff(answer.fitness) >= 0).all()


@pytest.mark.slow
def test_the_four_ways_to_stop_are_told_apart(learned):
    task, algorithm, result = learned
    assert analysis.diagnose(algorithm, result.pedigree, task, window=20).verdict == "learning"

    wide = jaxga.ga(task.init, gaussian(30.0), parents=2, children=64, elites=1)
    result = jaxga.run(wide, task, generations=60)
    assert analysis.diagnose(wide, result.pedigree, task, window=20).verdict == "none found"

    blind = jaxga.Task(task.init, lambda *_: jaxga.Evaluation(jnp.zeros(())))
    stuck = jaxga.ga(task.init, v.mixture([(0.95, gaussian(0.0)), (0.05, gaussian(0.05))]), parents=1, children=64)
    result = jaxga.run(stuck, blind, generations=60)
    assert analysis.diagnose(stuck, result.pedigree, task, window=40).verdict == "not passed on"

    far = jaxga.Task(lambda key: 100 + jax.random.normal(key, (20,)), task.evaluate, task.key)
    result = jaxga.run(jaxga.ga(far.init, gaussian(1e-3), parents=1, children=64), far, generations=20)
    slow = jaxga.ga(far.init, gaussian(1e-3), parents=1, children=64)
    found = analysis.diagnose(slow, result.pedigree, far, window=20)
    assert found.verdict == "gains too small"
    assert "gains are too small" in str(found)


@pytest.mark.slow
def test_fitness_of_nothing_but_noise_passes_harm_on_as_fast():
    """Any child becomes the parent then: a random walk, whose gains and losses numpy knows from 20 walks of its own."""
    task, noisy = bowl(20), bowl(20, noise=1e4)
    lucky = jaxga.ga(task.init, gaussian(0.3), parents=1, children=64)
    result = jaxga.run(lucky, noisy, generations=100)
    found = analysis.diagnose(lucky, result.pedigree, task, window=100)
    assert found.verdict == "harm as fast"
    random = np.random.default_rng(0)
    walks = np.cumsum(np.append(random.normal(size=(20, 1, 20)), 0.3 * random.normal(size=(20, 100, 20)), axis=1), 1)
    changes = np.diff(-np.sum(walks**2, axis=-1), axis=1)
    for mine, theirs in ((found.gained, np.maximum(changes, 0)), (found.lost, np.maximum(-changes, 0))):
        assert abs(mine - theirs.mean()) < 3 * theirs.mean(axis=1).std()
    assert found.lost > found.gained


def test_verdicts_by_hand():
    assert lineage._verdict(0.0, 1.0, 1.0, 0.0, 10, 0.1) == "none found"
    assert lineage._verdict(9.0, 0.1, 1.0, 0.0, 10, 0.1) == "not passed on"
    assert lineage._verdict(9.0, 0.5, 1.0, 0.9, 10, 0.1) == "harm as fast"
    assert lineage._verdict(9.0, 0.5, 0.01, 0.001, 10, 0.1) == "gains too small"
    assert lineage._verdict(9.0, 0.5, 1.0, 0.1, 10, 0.1) == "learning"


@pytest.mark.parametrize(("parents", "children"), [(4, 4), (8, 16), pytest.param(16, 256, marks=pytest.mark.slow)])
def test_drift_loses_diversity_as_theory_says(parents, children):
    answer = analysis.drift(parents, children, generations=20, repeats=500)
    assert np.abs(answer.diversity - answer.expected).max() < 0.08
    if children == 256:  # many children each: nearly Wright and Fisher
        assert np.abs(answer.expected - answer.wright_fisher).max() < 0.03


@pytest.mark.slow
def test_a_neutral_allele_is_fixed_as_often_as_it_was_frequent():
    answer = analysis.drift(8, 64, carriers=2, generations=60, repeats=800)
    fixed, lost, open_ = answer.fixed()
    assert open_ < 0.01
    assert abs(fixed - 2 / 8) < 4 * (0.25 * 0.75 / 800) ** 0.5
    assert abs(fixed + lost + open_ - 1) < 1e-9


@pytest.mark.slow
def test_every_answer_draws_itself(tmp_path, learned, digits):
    task, algorithm, result = learned
    minibatch, full = (tasks.classification(nn.MLP((10,)), digits, batch=batch) for batch in (16, None))
    answers = [
        analysis.cosine(jnp.ones(50), samples=64),
        analysis.best_of(minibatch, full, full.init(KEY), children=64, average=(1, 4), repeats=8),
        analysis.improvements(task, jnp.ones(20), gaussian, [0.1, 0.3], samples=64),
        analysis.first_step_size(task, gaussian, initialisations=3, children=4),
        analysis.oracle_schedule(task, gaussian, [0.1, 0.3], generations=12, children=4),
        analysis.lineage_effects(algorithm, result.pedigree, task),
        analysis.robustness(algorithm, result.pedigree, task, gaussian(0.1), samples=8),
        analysis.diagnose(algorithm, result.pedigree, task),
        analysis.drift(4, 8, generations=5, repeats=20),
    ]
    for number, answer in enumerate(answers):
        answer.plot(tmp_path / f"{number}.png")
        assert (tmp_path / f"{number}.png").stat().st_size > 5000
    analysis.plot_fits(analysis.fit_distributions({"w": jax.random.normal(KEY, (500,))}), tmp_path / "fits.png")
    assert (tmp_path / "fits.png").exists()


def test_refuses_what_cannot_work(learned):
    task, algorithm, result = learned
    with pytest.raises(jaxga.InputError, match="tasks with a loss"):
        analysis.best_of(task, task, jnp.ones(20))
    with pytest.raises(jaxga.InputError, match="sizes is empty"):
        analysis.oracle_schedule(task, gaussian, [], generations=3)
    with pytest.raises(jaxga.InputError, match="pedigree is empty"):
        analysis.lineage_effects(algorithm, result.pedigree._replace(recipes=None), task)


@pytest.fixture(scope="module")
def noisy_run():
    """Ten parents and elites with noisy fitness, of whom each child is truly worth something else."""
    task = bowl(4, noise=3.0)
    algorithm = jaxga.ga(task.init, gaussian(0.2), parents=5, children=20, elites=2)
    return algorithm, jaxga.run(algorithm, task, 0, generations=12).pedigree


def test_fates_are_those_of_a_loop_by_hand(noisy_run):
    """Truth, who is held, and whose line lasts, each by the plainest program."""
    algorithm, pedigree = noisy_run
    points, horizon = [0, 3, 8, 11], 4
    answer = analysis.fates(algorithm, pedigree, bowl(4), generations=points, horizon=horizon)
    indices = pedigree.recipes.indices[:, :, 0]
    for row, generation in enumerate(points):
        source = jaxga.pedigree.replay(algorithm, pedigree, generation)
        parents = -np.sum(np.asarray(source.parents.params) ** 2, axis=1)
        for child in range(20):
            weights = np.asarray(algorithm.offspring(source, child // 4, child % 4).params)
            change = -np.sum(weights**2) - parents[child // 4]
            np.testing.assert_allclose(answer.changes[row, child], change, atol=1e-4)
            slots = set(np.flatnonzero(indices[generation] == child))  # whom the child and its descendants are
            assert answer.held[row, child] == bool(slots)
            for later in range(generation + 1, min(generation + horizon + 1, 12)):
                found = indices[later]
                came = np.where(found < 20, found // 4, found - 20)  # of a child its parent, of an elite itself
                slots = {slot for slot in range(5) if came[slot] in slots}
            assert answer.lasting[row, child] == bool(slots)


def test_counts_of_fates_add_up(noisy_run, tmp_path):
    algorithm, pedigree = noisy_run
    answer = analysis.fates(algorithm, pedigree, bowl(4), horizon=3)
    counts = answer.counts()
    np.testing.assert_array_equal(counts["better"], counts["passed_over"] + counts["died_out"] + counts["lasting"])
    assert counts["passed_over"].sum() > 0  # noise hides some
    assert counts["worse_held"].sum() > 0
    assert answer.generations.max() == 12 - 3 - 1
    answer.plot(tmp_path / "fates.png")
    assert (tmp_path / "fates.png").stat().st_size > 1000


def test_fates_of_low_rank_children_are_those_of_their_weights():
    task = tasks.memorization(nn.MLP((4, 3)), points=6, shape=(5,), classes=3)
    algorithm = jaxga.ga(task.init, v.low_rank(v.absolute(0.3)), parents=2, children=6)
    pedigree = jaxga.run(algorithm, task, 0, generations=3).pedigree
    answer = analysis.fates(algorithm, pedigree, task, generations=[1])
    source = jaxga.pedigree.replay(algorithm, pedigree, 1)
    for child in range(6):
        weights = dense(algorithm.offspring(source, child // 3, child % 3).params)
        parent = jax.tree.map(lambda leaf, slot=child // 3: leaf[slot], source.parents.params)
        change = task.score(KEY, weights).fitness - task.score(KEY, parent).fitness
        np.testing.assert_allclose(answer.changes[0, child], change, atol=1e-4)


def test_fates_refuse_generations_that_are_not_there(noisy_run):
    algorithm, pedigree = noisy_run
    with pytest.raises(jaxga.InputError, match="those with parents are 0 to 11"):
        analysis.fates(algorithm, pedigree, bowl(4), generations=[12])
    with pytest.raises(jaxga.InputError, match="horizon is 0"):
        analysis.fates(algorithm, pedigree, bowl(4), horizon=0)


def test_two_mutations_meet_in_one_child_as_often_as_the_notes_say():
    """Of 16 parents who mate at random, 512 children: 1 - (1 - 1 / (2 x (x - 1))) ** 512 = 0.656 (x = 16)."""
    x, children = 16, 512

    def founders(key, init, number):
        del key, init
        return jnp.zeros((number, 2)).at[0, 0].set(1).at[1, 1].set(1)  # A in one parent, B in another

    algorithm = jaxga.ga(lambda _: jnp.zeros(2), v.uniform_crossover(), parents=x, children=children, founders=founders)

    def meet(key):
        children = jaxga.population(algorithm, algorithm.init(key)).params
        return (children == 1).all(axis=1).any()

    found = np.asarray(jax.jit(lambda keys: jax.lax.map(meet, keys, batch_size=50))(jax.random.split(KEY, 2000)))
    expected = 1 - (1 - 1 / (2 * x * (x - 1))) ** children
    assert abs(expected - 0.656) < 1e-3
    assert abs(found.mean() - expected) < 0.02 + 2 * (expected * (1 - expected) / 2000) ** 0.5
    one, other = (jaxga.Individual(jnp.array(genes)) for genes in ([1.0, 0.0], [0.0, 1.0]))
    cross = lambda key: v.uniform_crossover().apply(key, one, Context(jnp.int32(0), other)).params  # noqa: E731
    both = (jax.vmap(cross)(jax.random.split(KEY, 10_000)) == 1).all(axis=1)
    assert abs(both.mean() - 1 / 4) < 0.015  # of the children of these two


def as_arrays(change):
    """The same children, without a leaf in parts."""

    def apply(key, parent, context):
        child = change.apply(key, parent, context)
        return child._replace(params=dense(child.params))

    return jaxga.Variation(change.init, apply)


@pytest.mark.parametrize(
    ("network", "mutation"),
    [
        (nn.MLP((4,)), v.low_rank(v.absolute(0.1))),
        pytest.param(
            memory.PrototypeMemory(4, heads=5, start="random"), memory.gene(memory.walk), marks=pytest.mark.slow
        ),
    ],
    ids=["low rank", "gene"],
)
def test_children_in_parts_are_those_in_arrays(network, mutation):
    task = tasks.memorization(network, points=8, shape=(16,), classes=4)
    points, labels = tasks.noise(8, (16,), 4)
    record = jaxga.run(jaxga.ga(task.init, mutation, parents=2, children=8), task, generations=3).pedigree
    found = []
    for change in (mutation, as_arrays(mutation)):
        algorithm = jaxga.ga(task.init, change, parents=2, children=8)
        source = jaxga.pedigree.replay(algorithm, record)
        params = jax.tree.map(lambda leaf: leaf[0], source.parents.params)
        knows = lambda params: tasks.right(network.apply(params, points), labels)  # noqa: E731
        found.append((
            analysis.interference(algorithm, record, knows, every=1, samples=2)._asdict(),
            analysis.robustness(algorithm, record, task, change, generations=[3], samples=8)._asdict(),
            analysis.improvements(task, params, lambda _, change=change: change, (0.1,), samples=8).changes,
            lineage.true_changes(algorithm, task, KEY)(source),
        ))  # fmt: skip
    chex.assert_trees_all_close(*found, rtol=1e-4, atol=1e-5)
