"""The genetic algorithm against plain numpy, and each promise of its parts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import selection, tree
from jaxga import variation as v
from jaxga.base import Evaluation, Individual
from jaxga.lowrank import dense

GAUSSIAN = v.gaussian(v.absolute(0.1))


def vector(key):
    return jax.random.normal(key, (3,))


def matrix(key):
    return {"kernel": jax.random.normal(key, (6, 4)), "bias": jnp.zeros(4)}


def children_of(algorithm, state):
    """All children, dense, [N]."""

    def child(index):
        individual = algorithm.offspring(state, index // algorithm.brood, index % algorithm.brood)
        return individual._replace(params=dense(individual.params))

    return jax.jit(jax.vmap(child))(jnp.arange(algorithm.children))


def reference_truncation(fitness, kept, parents, elites):
    """Truncation selection with elites, as a textbook has it: who survives, and with which score.

    ``fitness [N]`` are the children, ``kept [T]`` the parents' scores, best first. Index N + t is parent t.
    """
    candidates = [(score, index) for index, score in enumerate(fitness)]
    candidates += [(kept[slot], len(fitness) + slot) for slot in range(elites)]
    candidates.sort(key=lambda pair: -pair[0])
    survivors = candidates[:parents]
    return [index for _, index in survivors], [score for score, _ in survivors]


@pytest.mark.parametrize(("parents", "elites"), [(1, 1), (4, 0), (4, 1), (4, 4)])
def test_same_survivors_as_a_numpy_reference_for_fifty_generations(parents, elites):
    algorithm = jaxga.ga(vector, GAUSSIAN, parents=parents, children=12, elites=elites)
    state, update = jax.jit(algorithm.init)(jax.random.key(0)), jax.jit(algorithm.update)
    random, kept = np.random.default_rng(0), [-np.inf] * parents
    for generation in range(50):
        fitness = random.normal(size=12).astype(np.float32) + np.float32(0.02 * generation)
        expected, kept = reference_truncation(fitness.tolist(), kept, parents, elites)
        state, info = update(state, Evaluation(jnp.asarray(fitness)))
        assert info.recipe.indices[:, 0].tolist() == expected
        assert state.fitness.tolist() == kept


def test_survivors_are_the_children_that_were_scored():
    algorithm = jaxga.ga(matrix, v.low_rank(v.absolute(0.1)), parents=2, children=8, elites=1)
    state = algorithm.init(jax.random.key(0))
    children, update = children_of(algorithm, state), jax.jit(algorithm.update)
    after, _ = update(state, Evaluation(jnp.arange(8.0)))
    chex.assert_trees_all_close(after.parents, tree.take(children, jnp.array([7, 6])), rtol=1e-6)
    assert int(after.best.index) == 7
    after, info = update(after, Evaluation(-jnp.arange(8.0)))
    assert info.recipe.indices[0, 0] == 8  # the elite, parent 0, kept as it is
    assert (int(after.best.generation), int(after.best.index), float(after.best_fitness)) == (0, 7, 7.0)


def test_neighbours_do_not_move_each_other():
    far_apart = jnp.stack([jnp.zeros(3), jnp.full(3, 100.0)])

    def children(variation):
        algorithm = jaxga.ga(vector, variation, parents=2, children=8)
        state = algorithm.init(jax.random.key(0))
        return children_of(algorithm, state.with_source(parents=state.parents._replace(params=far_apart))).params

    mutated, crossed = children(GAUSSIAN), children(v.chain(v.uniform_crossover(), GAUSSIAN))
    assert (jnp.abs(mutated[:4]) < 10).all()
    assert (jnp.abs(mutated[4:] - 100) < 10).all()
    from_mate = jnp.abs(crossed - jnp.repeat(jnp.array([0.0, 100.0]), 4)[:, None]) > 50
    assert from_mate.any()
    assert not from_mate.all()


def test_siblings_and_generations_differ():
    algorithm = jaxga.ga(vector, GAUSSIAN, parents=2, children=8)
    state = algorithm.init(jax.random.key(0))
    children = children_of(algorithm, state).params
    assert len(np.unique(children[:, 0])) == 8
    assert not (children == children_of(algorithm, state.with_source(generation=jnp.int32(1))).params).any()


@pytest.mark.parametrize("num", range(2, 6))
def test_a_mate_is_another_parent(num):
    seen = jaxga.Variation(lambda _: (), lambda *arguments: arguments[2].mate)
    algorithm = jaxga.ga(vector, seen, parents=num, children=8 * num)
    state = algorithm.init(jax.random.key(0))
    state = state._replace(
        source=state.source._replace(parents=state.parents._replace(params=jnp.arange(num, dtype=jnp.float32)))
    )
    mates = np.asarray(children_of(algorithm, state).params).reshape(num, 8)
    assert all(slot not in row for slot, row in enumerate(mates))
    assert len(np.unique(mates)) == num


def test_founders():
    common = jaxga.ga(vector, GAUSSIAN, parents=2, children=8).init(jax.random.key(0))
    assert (common.parents.params[0] == common.parents.params[1]).all()
    algorithm = jaxga.ga(vector, GAUSSIAN, parents=2, children=8, elites=1, founders=jaxga.random_founders)
    state = algorithm.init(jax.random.key(0))
    assert state.founding
    first = children_of(algorithm, state)
    assert jnp.std(first.params) > 0.5  # initialisations, not mutations of one
    state, _ = jax.jit(algorithm.update)(state, Evaluation(jnp.arange(8.0)))
    chex.assert_trees_all_close(state.parents.params, first.params[jnp.array([7, 6])], rtol=1e-6)
    assert jnp.abs(children_of(algorithm, state).params[:4] - first.params[7]).max() < 1


def test_random_search_is_the_degenerate_case():
    algorithm = jaxga.ga(vector, v.fresh(vector), parents=1, children=8, elites=1)
    state, update = algorithm.init(jax.random.key(0)), jax.jit(algorithm.update)
    best = -np.inf
    for _ in range(5):
        children = jaxga.population(algorithm, state).params
        assert len(np.unique(children[:, 0])) == 8
        fitness = children.sum(axis=1)
        best = max(best, float(fitness.max()))
        state, _ = update(state, Evaluation(fitness))
        assert float(state.fitness[0]) == best
        assert abs(float(state.parents.params.sum()) - best) < 1e-5


# Elites and noise.


def run_noisy(reevaluate, generations=40):
    """All are equally good, 0, with noise 1: what does the best parent's score say?"""
    algorithm = jaxga.ga(vector, GAUSSIAN, parents=4, children=16, elites=1, reevaluate=reevaluate)
    state, update, first = algorithm.init(jax.random.key(0)), jax.jit(algorithm.update), []
    for generation in range(generations):
        noise = jax.random.normal(jax.random.key(generation), (16 + reevaluate,))
        state, info = update(state, Evaluation(noise))
        first.append(int(info.recipe.indices[0, 0]))
    return float(state.fitness[0]), first


def test_a_lucky_elite_stays_where_its_score_is_kept_and_goes_where_it_is_not():
    _, kept = run_noisy(reevaluate=False)
    _, scored = run_noisy(reevaluate=True)
    longest = max(len(run) for run in "".join("x" if index == 16 else " " for index in kept).split())
    assert longest > 10
    assert sum(index == 16 for index in scored) < 10


def test_with_elites_fitness_never_falls_under_any_selection():
    for select in (selection.truncation, selection.roulette, selection.tournament(2), selection.linear_rank()):
        algorithm = jaxga.ga(vector, GAUSSIAN, parents=4, children=16, elites=1, selection=select)
        state, update, best = algorithm.init(jax.random.key(0)), jax.jit(algorithm.update), -np.inf
        for generation in range(10):
            state, _ = update(state, Evaluation(jax.random.normal(jax.random.key(generation), (16,))))
            assert float(state.fitness[0]) >= best
            best = float(state.fitness[0])
            finite = state.fitness[~jnp.isnan(state.fitness)]
            assert (jnp.diff(finite) <= 0).all()  # parents stand best first


# Averages.


def by_definition(state, children, chosen, weights, scale, brood):
    """The weighted mean of the chosen children's parents, plus that of their steps; step sizes are averaged alike."""
    w = np.asarray(weights)
    share = np.abs(w) / np.abs(w).sum()

    def mean(old, new):
        mothers = np.asarray(old)[chosen // brood]
        return np.tensordot(share, mothers, 1) + scale * np.tensordot(w, np.asarray(new)[chosen] - mothers, 1)

    params = jax.tree.map(mean, state.parents.params, children.params)
    return Individual(params, jax.tree.map(lambda leaf: np.tensordot(share, leaf[chosen], 1), children.strategy))


IN_PARTS = v.low_rank(v.multiplicative(v.absolute(0.1), 1.3))


# The default suite asks the hardest of each: weights that are negative, leaves in parts with step sizes of their own.
@pytest.mark.parametrize(
    ("parents", "mutation"),
    [
        (1, v.gaussian(v.absolute(0.1))),
        (2, IN_PARTS),
        pytest.param(2, v.gaussian(v.absolute(0.1)), marks=pytest.mark.slow),
        pytest.param(1, IN_PARTS, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "weights",
    [v.by_centred_rank, *(pytest.param(each, marks=pytest.mark.slow) for each in (v.equal, v.by_rank, v.by_fitness))],
)
def test_an_average_is_its_definition(parents, mutation, weights, monkeypatch):
    monkeypatch.setattr("jaxga.heredity.CHUNK", 3)  # so that chunks do not divide evenly
    k, scale = 4, 2.0
    algorithm = jaxga.ga(matrix, mutation, parents=parents, children=12, recombination=v.average(k, weights, scale))
    state = algorithm.init(jax.random.key(0))
    state = state._replace(
        source=state.source._replace(parents=jax.tree.map(lambda leaf: leaf.at[-1].multiply(2), state.parents))
    )
    children = children_of(algorithm, state)
    fitness = jax.random.normal(jax.random.key(1), (12,))
    after, info = jax.jit(algorithm.update)(state, Evaluation(fitness))
    order = np.argsort(-np.asarray(fitness))[: k * parents].reshape(k, parents).T
    assert info.recipe.indices.tolist() == order.tolist()
    for slot, chosen in enumerate(order):
        expected = by_definition(state, children, chosen, weights(fitness[chosen]), scale, algorithm.brood)
        chex.assert_trees_all_close(tree.take(after.parents, slot), expected, rtol=1e-4, atol=1e-5)
    assert jnp.isnan(after.fitness).all()


def test_a_projection_has_the_last_word_on_an_average():
    mutation = v.low_rank(v.relative(0.1))

    def make(projection, warmup=0):
        recombination = v.average(4, projection=projection)
        return jaxga.ga(matrix, mutation, parents=2, children=8, recombination=recombination, warmup=warmup)

    free, decayed, kept = make(None), make(v.decay(lambda generation: 0.5 / (1 + generation))), make(v.keep_norm)
    state = free.init(jax.random.key(0)).with_source(generation=jnp.int32(1))
    fitness = Evaluation(jnp.arange(8.0))

    def kernels(algorithm):
        return jax.jit(algorithm.update)(state, fitness)[0].parents.params["kernel"]

    before, after = state.parents.params["kernel"], kernels(free)
    assert (before[0] == before[1]).all()
    chex.assert_trees_all_close(kernels(decayed), 0.75 * after, rtol=1e-5)
    lengths = jnp.linalg.norm(after, axis=(1, 2), keepdims=True)
    chex.assert_trees_all_close(kernels(kept), after * jnp.linalg.norm(before[0]) / lengths, rtol=1e-4)
    chex.assert_trees_all_close(kernels(make(v.decay(0.5), warmup=2)), before, rtol=1e-5)


def test_a_child_without_a_fitness_has_no_weight():
    algorithm = jaxga.ga(vector, GAUSSIAN, parents=1, children=4, recombination=v.average(4))
    state = algorithm.init(jax.random.key(0))
    children = children_of(algorithm, state).params
    after, info = jax.jit(algorithm.update)(state, Evaluation(jnp.array([jnp.nan, 1.0, jnp.nan, 2.0])))
    assert info.metrics["nan"] == 2
    chex.assert_trees_all_close(after.parents.params[0], (children[1] + children[3]) / 2, rtol=1e-4)


def test_a_child_that_is_nan_itself_does_not_spoil_an_average():
    def explode(key, params):
        return params + jnp.where(jax.random.bernoulli(key), jnp.nan, 1.0)

    algorithm = jaxga.ga(vector, v.stateless(explode), parents=1, children=16, recombination=v.average(16))
    state = algorithm.init(jax.random.key(0))
    children = children_of(algorithm, state).params
    assert jnp.isnan(children).any()
    after, _ = jax.jit(algorithm.update)(state, Evaluation(children.sum(axis=1)))
    chex.assert_trees_all_close(after.parents.params, state.parents.params + 1, rtol=1e-5)


def test_where_nobody_has_a_fitness_the_parents_stay():
    mutation = v.gaussian(v.multiplicative(v.absolute(0.1)))
    algorithm = jaxga.ga(vector, mutation, parents=4, children=16, recombination=v.average(3))
    state = algorithm.init(jax.random.key(0))
    after, _ = jax.jit(algorithm.update)(state, Evaluation(jnp.full(16, jnp.nan).at[:2].set(1.0)))
    chex.assert_trees_all_close(after.parents.params[2:], state.parents.params[2:], rtol=1e-5)
    assert (after.parents.strategy["inner"] > 0).all()


def test_a_kept_elite_keeps_its_step_size_in_an_average():
    mutation = v.gaussian(v.multiplicative(v.absolute(0.1), up=2.0))
    algorithm = jaxga.ga(vector, mutation, parents=1, children=4, elites=1, reevaluate=True, recombination=v.average(1))
    update = jax.jit(algorithm.update)
    for seed in range(4):
        state = algorithm.init(jax.random.key(seed))
        after, _ = update(state, Evaluation(jnp.array([0.0, 0.0, 0.0, 0.0, 9.0])))
        chex.assert_trees_all_equal(after.parents, state.parents)


def test_metrics_of_the_task_may_not_take_a_name_that_is_logged():
    algorithm = jaxga.ga(vector, GAUSSIAN, parents=1, children=2)
    with pytest.raises(jaxga.InputError, match="metric 'nan' of the evaluation has the name of one that every run log"):
        algorithm.update(algorithm.init(jax.random.key(0)), Evaluation(jnp.zeros(2), metrics={"nan": jnp.zeros(2)}))


def test_two_columns_of_a_generation_may_not_have_one_name():
    def measuring(name):
        return jaxga.Task(vector, lambda _, w: Evaluation(-jnp.sum(w**2), metrics={name: w[0]}))

    def remarking(name):
        def apply(key, scored, remembered):
            recipe, remembered, _ = ranked.apply(key, scored, remembered)
            return recipe, remembered, {name: jnp.float32(7)}

        ranked = selection.ranked()
        return jaxga.ga(vector, GAUSSIAN, parents=1, children=2, selection=ranked._replace(apply=apply))

    for other in ("place", "rank"):  # a selection may say of whom a metric is logged, as the champion's are
        assert jaxga.run(remarking("place"), measuring(other), generations=1).history["place"].tolist() == [7]
    algorithm = remarking("place")
    with pytest.raises(jaxga.InputError, match="'evaluations' of the selection has the name of one that every run lo"):
        jaxga.run(remarking("evaluations"), measuring("rank"), generations=1)
    for name in ("seconds", "best_fitness", "generation", "best_validation"):
        with pytest.raises(jaxga.InputError, match=rf"the metrics \['{name}'\] have names that every run logs"):
            jaxga.run(algorithm, measuring(name), generations=1)
    task = measuring("validation_fine")
    task = task._replace(validate=lambda w: Evaluation(w[0], metrics={"fine": w[1]}))
    with pytest.raises(jaxga.InputError, match="'validation_fine' of the validation has the name of one"):
        jaxga.run(algorithm, task, generations=1)
    assert jaxga.run_many(lambda: algorithm, measuring("verdict"), generations=2, seeds=2).metrics["verdict"].any()
    with pytest.raises(jaxga.InputError, match=r"\['seed'\] are arguments of make, or the seed, and metrics too"):
        jaxga.run_many(lambda: algorithm, measuring("seed"), generations=2, seeds=2)


def test_elites_are_not_chosen_twice():
    for select in (lambda key, evaluation, num: selection.truncation(key, evaluation, num), selection.roulette):
        algorithm = jaxga.ga(vector, GAUSSIAN, parents=2, children=4, elites=1, selection=select)
        _, info = jax.jit(algorithm.update)(
            algorithm.init(jax.random.key(0)), Evaluation(jnp.array([0.0, 1.0, 2.0, 9.0]))
        )
        assert len(set(info.recipe.indices[:, 0].tolist())) == 2


def test_a_kept_elite_takes_its_share_of_an_average():
    algorithm = jaxga.ga(vector, GAUSSIAN, parents=1, children=4, elites=1, reevaluate=True, recombination=v.average(2))
    state = algorithm.init(jax.random.key(0))
    child = children_of(algorithm, state).params[2]
    after, _ = jax.jit(algorithm.update)(state, Evaluation(jnp.array([0.0, 0.0, 5.0, 0.0, 9.0])))
    chex.assert_trees_all_close(after.parents.params[0], (child + state.parents.params[0]) / 2, rtol=1e-5)


# NaN, tiebreaks, metrics, errors.


def test_nan_never_survives_and_is_counted():
    algorithm = jaxga.ga(vector, GAUSSIAN, parents=2, children=4)
    fitness = jnp.array([jnp.nan, -5.0, jnp.nan, -7.0])
    _, info = jax.jit(algorithm.update)(algorithm.init(jax.random.key(0)), Evaluation(fitness))
    assert info.recipe.indices[:, 0].tolist() == [1, 3]
    assert info.metrics["nan"] == 2
    assert info.metrics["mean_fitness"] == -6.0


def test_tiebreak_orders_equal_fitness():
    algorithm = jaxga.ga(vector, GAUSSIAN, parents=2, children=4)
    evaluation = Evaluation(jnp.array([1.0, 1.0, 1.0, 0.0]), jnp.array([0.0, 2.0, 1.0, 9.0]))
    _, info = jax.jit(algorithm.update)(algorithm.init(jax.random.key(0)), evaluation)
    assert info.recipe.indices[:, 0].tolist() == [1, 2]


def test_metrics_are_those_of_the_best_that_was_scored():
    algorithm = jaxga.ga(vector, v.gaussian(v.multiplicative(v.absolute(0.1))), parents=1, children=4, elites=1)
    state, update = algorithm.init(jax.random.key(0)), jax.jit(algorithm.update)
    state, info = update(state, Evaluation(jnp.array([0.0, 9.0, 1.0, 2.0]), metrics={"x": jnp.arange(4)}))
    assert info.metrics["x"] == 1
    state, info = update(state, Evaluation(jnp.array([0.0, 3.0, 4.0, 2.0]), metrics={"x": jnp.arange(4)}))
    assert info.recipe.indices[0, 0] == 4  # the elite kept its score
    assert (float(info.metrics["fitness"]), int(info.metrics["x"])) == (9.0, 2)
    assert "step_size" in "".join(info.metrics)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parents": 0, "children": 4}, "parents is 0, and must be 1 or more"),
        ({"parents": 8, "children": 4}, "children is 4, fewer than the 8 parents"),
        ({"parents": 3, "children": 10}, "children is 10, no multiple of the 3 parents: take 9 or 12"),
        ({"parents": 2, "children": 4, "elites": 3}, "elites is 3, and must lie between 0 and the 2 parents"),
        (
            {"parents": 2, "children": 4, "recombination": v.average(3)},
            "average is 3, and 4 children of 2 parents leave 2 to average: take 2 or fewer",
        ),
        (
            {"parents": 2, "children": 4, "elites": 1, "recombination": v.average(2)},
            "have no score to keep: pass reevaluate=True",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_named(settings, message):
    with pytest.raises(jaxga.InputError, match=message):
        jaxga.ga(vector, GAUSSIAN, **settings)


def test_integer_params_and_wrong_evaluations_are_named():
    algorithm = jaxga.ga(lambda _: {"steps": jnp.zeros(3, jnp.int32)}, GAUSSIAN, parents=1, children=2)
    with pytest.raises(jaxga.InputError, match="leaf 'steps' has dtype int32"):
        algorithm.init(jax.random.key(0))
    algorithm = jaxga.ga(vector, GAUSSIAN, parents=1, children=2)
    with pytest.raises(jaxga.InputError, match=r"fitness of shape \(3,\), and \(2,\) was due"):
        algorithm.update(algorithm.init(jax.random.key(0)), Evaluation(jnp.zeros(3)))


def test_a_selection_sees_metrics_as_long_as_fitness():
    """A kept elite was not measured again: NaN stands for it. What is one number for all stays one."""
    seen = {}

    def select(key, evaluation, num):
        seen.update({name: leaf.shape for name, leaf in evaluation.metrics.items()}, fitness=evaluation.fitness.shape)
        seen["kept"] = (
            jnp.isnan(evaluation.metrics["place"][8:]).all() & jnp.isnan(evaluation.metrics["count"][8:]).all()
        )
        return jaxga.selection.tournament(2)(key, evaluation, num)

    algorithm = jaxga.ga(
        lambda _: jnp.zeros(3), v.gaussian(v.absolute(0.1)), parents=2, children=8, elites=1, selection=select
    )
    metrics = {"place": jnp.ones((8, 2)), "count": jnp.ones(8, jnp.int32), "all": jnp.float32(1)}
    state = algorithm.init(jax.random.key(0))
    _, info = algorithm.update(state, jaxga.Evaluation(jnp.arange(8.0), metrics=metrics))
    assert seen | {"kept": True} == {"place": (9, 2), "count": (9,), "all": (), "fitness": (9,), "kept": True}
    assert bool(seen["kept"])
    assert (float(info.metrics["place_1"]), int(info.metrics["count"])) == (1, 1)
