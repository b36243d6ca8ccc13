"""One contract for all selections, and the probabilities that each of them promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxga
from jaxga import selection
from jaxga.base import Evaluation

SELECTIONS = {
    "truncation": selection.truncation,
    "tournament": selection.tournament(3),
    "linear_rank": selection.linear_rank(1.8),
    "roulette": selection.roulette,
    "proportional": selection.proportional,
}
RANK_BASED = ["truncation", "tournament", "linear_rank"]
FITNESS = jnp.array([0.5, 3.0, -1.0, 2.0, 0.0, 7.0])
every = pytest.mark.parametrize("select", SELECTIONS.values(), ids=SELECTIONS)


def draw(select, fitness, num=4, times=200, **rest):
    keys = jax.random.split(jax.random.key(0), times)
    return np.asarray(jax.jit(jax.vmap(lambda key: select(key, Evaluation(fitness, **rest), num)))(keys))


@every
def test_indices_are_in_range_and_int32(select):
    chosen = draw(select, FITNESS)
    assert chosen.dtype == np.int32
    assert chosen.min() >= 0
    assert chosen.max() < 6


@every
def test_same_key_same_choice_and_jit_equals_eager(select):
    key = jax.random.key(3)
    eager = select(key, Evaluation(FITNESS), 4)
    assert (eager == jax.jit(lambda key: select(key, Evaluation(FITNESS), 4))(key)).all()


@every
@pytest.mark.parametrize("worst", [jnp.nan, -jnp.inf])
def test_nan_is_never_chosen_while_a_number_exists(select, worst):
    fitness = jnp.array([jnp.nan, worst, jnp.nan, 1.0, 2.0, jnp.nan])
    num = 3 if select is selection.truncation and worst != worst else 2
    chosen = draw(select, fitness, num=min(num, 2))
    assert set(np.unique(chosen)) <= {3, 4} | ({1} if worst == worst else set())


@every
def test_all_nan_still_gives_valid_indices(select):
    chosen = draw(select, jnp.full(6, jnp.nan))
    assert ((chosen >= 0) & (chosen < 6)).all()


@pytest.mark.parametrize("name", RANK_BASED)
def test_rank_based_selections_do_not_see_a_monotone_transform(name):
    assert (draw(SELECTIONS[name], FITNESS) == draw(SELECTIONS[name], jnp.exp(FITNESS) * 100)).all()


def test_ranking_is_lexicographic_and_nan_comes_last():
    evaluation = Evaluation(jnp.array([1.0, 2.0, jnp.nan, 2.0, -jnp.inf]), jnp.array([9.0, 1.0, 9.0, 5.0, 0.0]))
    assert selection.ranking(jax.random.key(0), evaluation).tolist() == [3, 1, 0, 4, 2]


def test_a_tiebreak_of_nan_is_worst_and_infinities_are_the_best_and_the_worst():
    evaluation = Evaluation(jnp.ones(3), jnp.array([0.0, jnp.nan, 5.0]))
    assert selection.ranking(jax.random.key(0), evaluation).tolist() == [2, 0, 1]
    counts = np.bincount(draw(selection.roulette, jnp.array([jnp.inf, 2.0, 1.0, -jnp.inf]), num=1, times=400)[:, 0])
    assert counts[0] > 100 < counts[1]
    assert counts.size == 2


def test_ties_are_broken_by_a_fair_draw():
    first = draw(selection.truncation, jnp.zeros(6), num=1, times=3000)[:, 0]
    assert stats.chisquare(np.bincount(first, minlength=6)).pvalue > 1e-3


def check_frequencies(select, probabilities, times=4000):
    counts = np.bincount(draw(select, FITNESS, num=1, times=times)[:, 0], minlength=6)
    positive = np.asarray(probabilities) > 0
    assert not counts[~positive].any()
    assert stats.chisquare(counts[positive], times * np.asarray(probabilities)[positive]).pvalue > 1e-3


PLACE = np.array([3, 1, 5, 2, 4, 0])  # of FITNESS, 0 the best


def test_truncation_takes_the_best():
    assert selection.truncation(jax.random.key(0), Evaluation(FITNESS), 3).tolist() == [5, 1, 3]


def test_tournament_probabilities():
    check_frequencies(selection.tournament(3), ((6 - PLACE) ** 3 - (5 - PLACE) ** 3) / 216)


def test_linear_rank_probabilities():
    check_frequencies(selection.linear_rank(1.8), (1.8 - 1.6 * PLACE / 5) / 6)


def test_roulette_probabilities():
    above = np.asarray(FITNESS) + 1
    check_frequencies(selection.roulette, above / above.sum())


def test_roulette_of_equals_is_uniform():
    counts = np.bincount(draw(selection.roulette, jnp.full(6, 3.0), num=1, times=3000)[:, 0], minlength=6)
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: selection.tournament(0), "size is 0"),
        (lambda: selection.linear_rank(2.5), "pressure is 2.5, and must be 2 or less"),
        (lambda: selection.linear_rank(0.5), "pressure is 0.5, and must be 1 or more"),
    ],
)
def test_wrong_numbers_are_named(wrong, message):
    with pytest.raises(jaxga.InputError, match=message):
        wrong()
