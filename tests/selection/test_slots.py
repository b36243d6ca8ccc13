"""Selections in which a child competes for one slot, against plain programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import variation as v
from jaxga.base import Evaluation
from jaxga.selection import (
    Filled,
    breeding,
    crowding,
    curiosity,
    cvt,
    grid,
    improvement,
    map_elites,
    plus,
    ranked,
    replace_oldest,
    replace_worst,
    restricted_tournament,
    tournament,
    uniform,
)


def place_of(_, w):
    return Evaluation(jnp.round(3 - jnp.sum(w**2), 1), metrics={"place": w[:2]})


TASK = jaxga.Task(lambda _: jnp.zeros(3), place_of)


def make(chosen, *, parents=6, children=12, pairs=None, task=TASK, sigma=0.5):
    mutation = v.gaussian(v.absolute(sigma))
    return jaxga.ga(task.init, mutation, parents=parents, children=children, pairs=pairs, selection=chosen)


def generations(algorithm, count, task=TASK):
    """Step by step: the state before, the scores, and the state after."""
    evaluator = jaxga.vmapped(algorithm, task)
    state = algorithm.init(jax.random.key(0), like=evaluator.like(algorithm.begin(jax.random.key(0))))
    step = jax.jit(lambda state: (scores := evaluator(state.source), *algorithm.update(state, scores)))
    for _ in range(count):
        scores, after, info = step(state)
        yield state, scores, after, info
        state = after


def test_in_crowding_a_child_competes_with_its_own_parent():
    algorithm = make(crowding())
    for state, scores, after, info in generations(algorithm, 8):
        for slot in range(6):
            brood = scores.fitness[2 * slot : 2 * slot + 2]
            old, new = float(state.fitness[slot]), float(after.fitness[slot])
            assert new == (float(brood.max()) if np.isnan(old) else max(old, float(brood.max())))
            if not np.isnan(old) and brood.max() <= old:
                assert int(info.recipe.indices[slot, 0]) == 12 + slot  # it stays


def test_in_a_restricted_tournament_a_child_competes_with_the_most_alike():
    algorithm = make(restricted_tournament("place", window=6), children=6)  # all parents are in the window
    for number, (state, scores, after, info) in enumerate(generations(algorithm, 8)):
        if number == 0:
            continue  # nobody has a score
        parents, children = np.asarray(state.scores.metrics["place"]), np.asarray(scores.metrics["place"])
        known = ~np.isnan(np.asarray(state.fitness))
        for slot in np.flatnonzero(info.recipe.indices[:, 0] < 6):
            child = int(info.recipe.indices[slot, 0])
            distance = ((parents - children[child]) ** 2).sum(1)
            assert slot == (distance.argmin() if known.all() else slot)
            assert not known[slot] or scores.fitness[child] > state.fitness[slot]
        assert (np.asarray(after.fitness)[known] >= np.asarray(state.fitness)[known]).all()
    assert known.all()


def test_the_worst_are_replaced_by_the_best_children():
    algorithm = make(breeding(replace_worst(), 2), children=4, pairs=2)
    for state, scores, after, _ in generations(algorithm, 20):
        if not np.isnan(state.fitness).any():
            together = np.sort(np.concatenate([state.fitness, scores.fitness]))[::-1]
            assert after.fitness.min() <= together[5]
            assert np.sort(after.fitness).sum() <= together[:6].sum() + 1e-5
            assert after.fitness.min() >= state.fitness.min()
            stays = np.asarray(after.fitness == state.fitness)
            assert stays.sum() >= 2  # slots stay where they are


def test_the_oldest_are_replaced_better_or_not():
    algorithm = make(breeding(replace_oldest(), 2), children=2, pairs=2)
    replaced = [
        sorted(np.flatnonzero(info.recipe.indices[:, 0] < 2).tolist()) for *_, info in generations(algorithm, 9)
    ]
    assert replaced == [[0, 1], [2, 3], [4, 5]] * 3


def fill(cells, fitness, cell):
    """MAP-Elites as a dictionary."""
    for index, (value, where) in enumerate(zip(fitness, cell, strict=True)):
        if where >= 0 and not np.isnan(value) and value > cells.get(where, (-np.inf, -1))[0]:
            cells[where] = value, index
    return cells


# Curiosity alone remembers something from one generation to the next, which it may spoil; who breeds is tested below.
@pytest.mark.parametrize(
    "breeders", [curiosity, *(pytest.param(each, marks=pytest.mark.slow) for each in (uniform, improvement))]
)
def test_map_elites_is_a_dictionary_of_the_best(breeders):
    squares = grid((5, 4), (-1.0, -2.0), (1.0, 2.0))
    algorithm = make(map_elites("place", squares, 16, breeders=breeders), parents=20, children=16, pairs=16)
    cells = {}
    for state, scores, after, info in generations(algorithm, 30):
        place = np.asarray(scores.metrics["place"])
        at = np.clip(np.floor((place - [-1, -2]) / [2, 4] * [5, 4]), 0, [4, 3]).astype(int)
        fill(cells, np.asarray(scores.fitness), at[:, 0] * 4 + at[:, 1])
        held = np.asarray(after.fitness)
        assert set(np.flatnonzero(~np.isnan(held))) == set(cells)
        assert all(held[where] == np.float32(value) for where, (value, _) in cells.items())
        assert float(info.metrics["coverage"]) == pytest.approx(len(cells) / 20)
        assert float(info.metrics["qd_score"]) == pytest.approx(sum(value for value, _ in cells.values()), rel=1e-5)
        entered = np.asarray(info.recipe.indices[:, 0] < 16)
        assert int(info.metrics["entered"]) == entered.sum()
        outside = (np.abs(place) > [1, 2]).any(1)
        assert int(info.metrics["outside"]) == outside.sum()
        if int(state.generation):
            breeds = np.asarray(state.pairs)
            assert not np.isnan(state.fitness[breeds]).any()  # only filled cells breed, and are mates
    np.testing.assert_array_equal(
        np.asarray(after.scores.metrics["place"])[~np.isnan(held)],
        np.asarray(after.parents.params)[~np.isnan(held), :2],
    )
    assert len(cells) > 12


def test_what_is_outside_of_the_grid_or_nowhere_does_not_enter():
    def lost(key, w):
        score = place_of(key, w)
        return score._replace(metrics={"place": jnp.where(w[2] > 0, jnp.nan, score.metrics["place"])})

    task = TASK._replace(evaluate=lost)
    squares = grid((4, 4), -0.5, 0.5)
    algorithm = make(
        map_elites("place", squares, 16, outside=False), parents=16, children=16, pairs=16, task=task, sigma=0.4
    )
    steps = list(generations(algorithm, 20, task))
    counted, after = sum(int(info.metrics["outside"]) for *_, info in steps), steps[-1][2]
    params = np.asarray(after.parents.params)[~np.isnan(after.fitness)]
    assert len(params) > 8
    assert (np.abs(params[:, :2]) <= 0.5).all()
    assert (params[:, 2] <= 0).all()
    assert counted > 50


def test_cells_of_a_grid_are_in_the_order_of_its_axes():
    cells = grid((2, 3), (0.0, 0.0), (2.0, 3.0))
    points = jnp.array([[x + 0.5, y + 0.5] for x in range(2) for y in range(3)])
    assert cells.of(points)[0].tolist() == list(range(6))
    assert cells.of(jnp.array([[2.0, 3.0], [-1.0, 9.0]]))[0].tolist() == [5, 2]


def test_centroids_share_space_about_equally():
    cells = cvt(16, (0.0, 10.0, -1.0), (1.0, 20.0, 1.0), seed=1)
    points = np.random.default_rng(0).uniform((0, 10, -1), (1, 20, 1), (8000, 3)).astype(np.float32)
    where, inside = cells.of(jnp.asarray(points))
    counts = np.bincount(np.asarray(where), minlength=16)
    assert inside.all()
    assert counts.min() > 200
    assert counts.max() < 1000


def test_curious_cells_are_those_whose_children_were_held():
    cells = Filled(*map(jnp.asarray, (np.array([True, True, False]), np.zeros(3), np.array([2.0, 0, 9]), np.ones(3))))
    weights = curiosity(cells)
    assert weights[0] > 100 * weights[1] > 0 == weights[2]
    assert uniform(cells).tolist() == [1, 1, 0]
    assert improvement(cells)[2] == 0


def test_scores_against_a_parent_cannot_be_kept():
    algorithm = make(crowding())
    with pytest.raises(jaxga.InputError, match="cannot keep its improvement over its own parent"):
        jaxga.run(algorithm, jaxga.paired(TASK), generations=1)


def elites(cells, describe="place"):
    algorithm = make(map_elites(describe, cells, 4), parents=9, children=4, pairs=4)
    return jaxga.run(algorithm, TASK, generations=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: elites(grid((2, 2), 0, 1)), "parents is 9, and there are 4 cells: take as many"),
        (lambda: elites(grid((9,), 0, 1)), "the descriptor has 2 numbers, and the cells have 1"),
        (lambda: elites(grid((3, 3), 0, 1), "end"), r"map_elites needs the metric 'end'"),
        (lambda: grid((3, 3), 0, 0), "every low must be below its high"),
        (lambda: grid((3, 0), 0, 1), r"shape\[1\] is 0, and must be 1 or more"),
        (lambda: cvt(4, (0, 0), (1,)), "they must have one number for each dimension"),
        (lambda: make(breeding(replace_worst(), 3), children=4, pairs=2), None),
        (lambda: restricted_tournament("place", 0), "window is 0, and must be 1 or more"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    if message is None:
        algorithm = call()
        with pytest.raises(jaxga.InputError, match=r"pairs of shape \(3, 2\), and \(2, 2\) was due"):
            jaxga.run(algorithm, TASK, generations=1)
        return
    with pytest.raises(jaxga.InputError, match=message):
        call()


def test_breeders_of_a_steady_state_are_chosen_by_fitness():
    algorithm = make(breeding(replace_worst(), 2, tournament(6)), children=4, pairs=2)
    for *_, after, _ in generations(algorithm, 10):
        if not np.isnan(after.fitness).any():
            chosen = np.asarray(after.fitness)[np.asarray(after.pairs)[:, 0]]
            assert chosen.mean() >= np.asarray(after.fitness).mean() - 1e-6


def test_a_pedigree_is_small_where_few_slots_change(tmp_path):
    """1,000 cells, 16 children a generation: bytes are for what changed, and for who breeds."""
    cells = grid((40, 25), -2.0, 2.0)
    algorithm = make(map_elites("place", cells, 16), parents=1000, children=16, pairs=16)
    result = jaxga.run(algorithm, TASK, generations=200)
    path = jaxga.pedigree.save(result.pedigree, tmp_path / "pedigree.npz")
    changed = (result.pedigree.recipes.indices < 16).sum()
    assert path.stat().st_size < 100 * changed / 8 + 4 * 2 * 16 * 200
    loaded = jaxga.pedigree.load(path)
    np.testing.assert_array_equal(loaded.fitness, result.pedigree.fitness)
    for one, other in zip(loaded.recipes, result.pedigree.recipes, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(jaxga.pedigree.replay(algorithm, loaded).parents.params, result.state.parents.params)


def test_survivors_in_place_are_those_of_plus_selection():
    in_place, sorted_ = make(plus(6)), make(ranked(elites=6))
    first = next(generations(sorted_, 1))[2]
    for number, (state, scores, after, info) in enumerate(generations(in_place, 10)):
        if number == 0:
            np.testing.assert_array_equal(np.sort(after.fitness), np.sort(first.fitness))
        known = np.where(np.isnan(state.fitness), -np.inf, state.fitness)
        best = np.sort(np.concatenate([known, scores.fitness]))[::-1][:6]
        np.testing.assert_array_equal(np.sort(np.asarray(after.fitness))[::-1], best)
        stays = np.asarray(info.recipe.indices[:, 0]) >= 12
        assert (np.asarray(info.recipe.indices[:, 0])[stays] - 12 == np.flatnonzero(stays)).all()


def test_lethal_children_enter_no_cell():
    """Few children and many cells: a cell that nobody lives in stays empty, and the others as they are."""
    squares = grid((8, 8), -2.0, 2.0)
    algorithm = jaxga.ga(
        TASK.init, v.gaussian(v.absolute(0.5)), parents=64, children=16, pairs=16,
        selection=map_elites("place", squares, 16), viable=lambda individual: individual.params[2] > 0,
    )  # fmt: skip
    state = jaxga.run(algorithm, TASK, generations=30).state
    held = ~np.isnan(np.asarray(state.fitness))
    params = np.asarray(state.parents.params)[held]
    assert held.sum() > 8
    assert (params[:, 2] > 0).all()
    np.testing.assert_array_equal(squares.of(jnp.asarray(params[:, :2]))[0], np.flatnonzero(held))
    np.testing.assert_array_equal(state.scores.metrics["place"][held], params[:, :2])
