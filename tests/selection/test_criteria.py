"""What candidates are ranked by instead of their fitness, against plain programs of NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import selection
from jaxga import variation as v
from jaxga.base import Evaluation, Scored
from jaxga.selection import (
    Criterion,
    by,
    clearing,
    competition,
    fitness,
    local_competition,
    metric,
    novelty,
    pareto,
    random_archive,
    ranked,
    ranking,
    sharing,
    threshold_archive,
    weighted,
)
from jaxga.selection.pareto import crowding_distance, fronts

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
PLACES = RNG.normal(size=(20, 2)).astype(np.float32)
FITNESS = RNG.normal(size=20).astype(np.float32)


def scored(fitness=FITNESS, elites=0, **metrics):
    """A generation with these scores; the last candidates are elites."""
    metrics = {name: jnp.asarray(values, jnp.float32) for name, values in metrics.items()}
    evaluation = Evaluation(jnp.asarray(fitness, jnp.float32), jnp.zeros(len(fitness)), metrics)
    count = len(fitness)
    parents = Evaluation(jnp.full(4, jnp.nan), jnp.zeros(4), {name: leaf[:4] for name, leaf in metrics.items()})
    index = jnp.arange(count, dtype=jnp.int32)
    return Scored(
        evaluation, index, index % 4, ranking(KEY, evaluation), parents, jnp.int32(0),
        index < count - elites, count - elites + jnp.arange(4, dtype=jnp.int32),
    )  # fmt: skip


def values(criterion, generation, remembered=None):
    like = generation.parents
    remembered = criterion.init(4, like) if remembered is None else remembered
    found, remembered, metrics = jax.jit(criterion.apply)(KEY, generation, remembered)
    return np.asarray(found.fitness if isinstance(found, Evaluation) else found), remembered, metrics


def apart(ends):
    return np.sqrt(((ends[:, None] - ends[None]) ** 2).sum(-1))


def test_sharing_divides_by_the_niche_count():
    found, *_ = values(sharing("place", 1.0, power=2.0), scored(place=PLACES))
    count = np.maximum(0, 1 - apart(PLACES) ** 2).sum(1)
    np.testing.assert_allclose(found, (FITNESS - FITNESS.min()) / count, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("capacity", [1, 3])
def test_clearing_leaves_the_best_of_a_niche(capacity):
    found, *_ = values(clearing("place", 0.8, capacity), scored(place=PLACES))
    winners = []
    for who in np.argsort(-FITNESS):
        if sum(apart(PLACES)[who, winner] < 0.8 for winner in winners) < capacity:
            winners.append(who)
    assert set(np.flatnonzero(~np.isnan(found))) == set(winners)
    np.testing.assert_array_equal(found[winners], FITNESS[winners])


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
def test_points_are_shared_among_those_who_have_them(alpha):
    points = RNG.integers(0, 2, (20, 6)).astype(np.float32)
    points[:, 5] = 0  # which nobody has
    found, *_ = values(competition("points", alpha), scored(points=points))
    shared = np.maximum(points.sum(0), 1)
    np.testing.assert_allclose(found, (points / shared**alpha).sum(1), rtol=1e-5)


def test_local_competition_counts_the_nearest_that_are_worse():
    found, *_ = values(local_competition("place", 5), scored(place=PLACES))
    distance = apart(PLACES) + np.diag(np.full(20, np.inf))
    nearest = np.argsort(distance, axis=1)[:, :5]
    np.testing.assert_array_equal(found, (FITNESS[:, None] > FITNESS[nearest]).sum(1))


def test_novelty_is_the_mean_distance_to_the_nearest_of_population_and_archive():
    criterion = novelty("place", 3, random_archive(8, added=2))
    found, remembered, metrics = values(criterion, scored(place=PLACES))
    distance = apart(PLACES) + np.diag(np.full(20, np.inf))
    np.testing.assert_allclose(found, np.sort(distance, 1)[:, :3].mean(1), rtol=1e-5)
    entries = np.asarray(remembered[0])
    assert int(metrics["archive"]) == 2
    assert np.isnan(entries[2:]).all()
    assert all((entry == PLACES).all(1).any() for entry in entries[:2])

    later = PLACES + 0.5
    found, remembered, _ = values(criterion, scored(place=later), remembered)
    past = np.sqrt(((later[:, None] - entries[None, :2]) ** 2).sum(-1))
    everyone = np.concatenate([apart(later) + np.diag(np.full(20, np.inf)), past], axis=1)
    np.testing.assert_allclose(found, np.sort(everyone, 1)[:, :3].mean(1), rtol=1e-5)
    for number in range(1, 5):  # the ring is full, and the oldest make room
        _, remembered, metrics = values(criterion, scored(place=PLACES + number), remembered)
    assert int(metrics["archive"]) == 8
    assert not any((entries[0] == entry).all() for entry in np.asarray(remembered[0]))


def test_neither_elites_nor_the_lost_enter_an_archive():
    places = PLACES.copy()
    places[:17] = np.nan  # three are left, two of whom are elites
    found, remembered, metrics = values(
        novelty("place", 2, random_archive(30, added=20)), scored(elites=2, place=places)
    )
    assert np.isnan(found[:17]).all()
    assert not np.isnan(found[17:]).any()
    assert int(metrics["archive"]) == 1
    np.testing.assert_array_equal(np.asarray(remembered[0])[0], places[17])


def test_a_threshold_lets_in_who_is_far_from_every_entry():
    ends = np.array([[0, 0], [0.5, 0], [3, 0], [3.2, 0], [9, 0], [20, 0], [30, 0]], np.float32)
    criterion = novelty("place", 2, threshold_archive(50, threshold=1.0, most=4, patience=2))
    generation = scored(np.zeros(len(ends)), place=ends)
    _, remembered, metrics = values(criterion, generation)
    np.testing.assert_array_equal(np.asarray(remembered[0])[:5], ends[[0, 2, 4, 5, 6]])
    assert int(metrics["archive"]) == 5
    assert float(remembered[2][0]) == pytest.approx(1.2)  # more than four entered
    for _ in range(2):
        _, remembered, metrics = values(criterion, generation, remembered)
    assert int(metrics["archive"]) == 5
    assert float(remembered[2][0]) == pytest.approx(1.2 * 0.95)  # nobody did, twice


def dominates(one, other):
    return (one >= other).all() and (one > other).any()


@pytest.mark.parametrize("seed", range(3))
def test_fronts_and_crowding_distances_are_those_of_nsga_2(seed):
    objectives = np.random.default_rng(seed).integers(0, 9, (30, 2)).astype(np.float32)
    expected, left, number = np.full(30, -1), set(range(30)), 0
    while left:
        front = {a for a in left if not any(dominates(objectives[b], objectives[a]) for b in left)}
        expected[list(front)], left, number = number, left - front, number + 1
    found = np.asarray(fronts(jnp.asarray(objectives)))
    np.testing.assert_array_equal(found, expected)

    objectives = np.random.default_rng(seed).normal(size=(30, 2)).astype(np.float32)  # without ties
    found = np.asarray(fronts(jnp.asarray(objectives)))
    distance = np.zeros(30)
    for number in range(found.max() + 1):
        who = np.flatnonzero(found == number)
        for values in objectives.T:
            order = who[np.argsort(values[who])]
            span = values[order[-1]] - values[order[0]]
            distance[order[[0, -1]]] = np.inf
            distance[order[1:-1]] += (values[order[2:]] - values[order[:-2]]) / span
    np.testing.assert_allclose(crowding_distance(jnp.asarray(objectives), jnp.asarray(found)), distance, rtol=1e-5)


def test_pareto_ranks_by_front_and_then_by_distance():
    size = RNG.normal(size=20).astype(np.float32)
    size[3] = np.nan
    found, *_ = values(pareto(fitness(), metric("size")), scored(size=size))
    assert np.isnan(found[3])
    objectives = np.stack([FITNESS, size], axis=1)
    np.testing.assert_array_equal(-np.delete(found, 3), np.delete(fronts(jnp.asarray(objectives)), 3))


def test_weighted_criteria_are_scaled_before_they_are_added():
    size = 1000 * RNG.normal(size=20).astype(np.float32)
    found, *_ = values(weighted((fitness(), 0.25), (metric("size"), 0.75)), scored(size=size))
    scale = lambda x: (x - x.min()) / (x.max() - x.min())  # noqa: E731
    np.testing.assert_allclose(found, 0.25 * scale(FITNESS) + 0.75 * scale(size), rtol=1e-4, atol=1e-6)


def test_who_has_no_fitness_is_not_chosen_however_new():
    lost = FITNESS.copy()
    lost[4] = np.nan
    places = PLACES.copy()
    places[4] = 100
    generation = scored(lost, place=places)
    chosen = by(novelty("place", 3), ranked())
    recipe, _, _ = chosen.apply(KEY, generation, chosen.init(4, generation.parents))
    assert 4 not in recipe.indices[:, 0]


def evaluate(_, w):
    return Evaluation(-jnp.sum(w**2), metrics={"place": w})


def made(chosen, evaluate=evaluate):
    task = jaxga.Task(lambda _: jnp.zeros(2), evaluate)
    return jaxga.ga(task.init, v.gaussian(v.absolute(0.1)), parents=4, children=8, selection=chosen), task


@pytest.mark.slow
def test_fitness_and_the_best_so_far_stay_those_of_the_task():
    algorithm, task = made(by(novelty("place", 3)))
    result = jaxga.run(algorithm, task, generations=30)
    own = float(task.evaluate(None, result.best_ever.params).fitness)
    assert own == float(result.state.best_fitness) == result.history["best_fitness"].max()
    assert float(jnp.abs(result.state.parents.params).max()) > 0.5
    assert result.history["archive"].tolist() == [5 * generation for generation in range(1, 31)]
    scores = jax.vmap(lambda w: evaluate(None, w).fitness)(result.state.parents.params)
    np.testing.assert_array_equal(result.state.fitness, scores)


@pytest.mark.slow
def test_ask_and_tell_begin_with_the_shapes_of_scores():
    algorithm, task = made(by(novelty("place", 3)))
    with pytest.raises(jaxga.InputError, match="begin with algorithm"):
        algorithm.init(KEY)
    source = algorithm.begin(KEY)
    state = algorithm.init(KEY, like=jaxga.vmapped(algorithm, task).like(source))
    children = jaxga.population(algorithm, state)
    state, info = jax.jit(algorithm.update)(state, jax.vmap(lambda w: evaluate(None, w))(children.params))
    assert len(set(info.recipe.indices[:, 0].tolist())) == 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run(by(novelty("end"))), r"novelty needs the metric 'end', and the task measures \['place'\]"),
        (lambda: run(by(sharing(lambda metrics: metrics["place"][0], 1.0))), r"descriptor .*lambda.* has shape \(2,\)"),
        (lambda: run(by(Criterion(lambda *_: (), lambda *_: (jnp.zeros(3), (), {})))), r"of shape \(3,\), and \(8,\)"),
        (lambda: by(novelty("place"), selection.crowding()), "a criterion has other values: take one whose elites"),
        (lambda: by(novelty), "pass a Criterion, such as novelty"),
        (lambda: by(novelty("place"), selection.truncation), "make a selection of it by ranked"),
        (lambda: novelty("place", 0), "neighbours is 0, and must be 1 or more"),
        (lambda: novelty("place", archive=100), r"pass random_archive\(...\) or threshold_archive"),
        (lambda: sharing("place", 0), "radius is 0, and must be above 0"),
        (lambda: clearing("place", 1, capacity=0), "capacity is 0, and must be 1 or more"),
        (lambda: competition("place", -1), "alpha is -1, and must be 0 or more"),
        (lambda: pareto(fitness()), "pareto has 1 criteria, and needs two or more"),
        (lambda: weighted(), "weighted needs at least one pair"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(jaxga.InputError, match=message):
        call()


def run(chosen):
    algorithm, task = made(chosen)
    return jaxga.run(algorithm, task, generations=1)
