"""What each part of the goal-setting agent promises, against numbers worked out by hand."""

import doctest
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from places import ROOT

import jaxga

sys.path.append(str(ROOT / "experiments"))

from goal_agent import encoder, environments, goals, replay, seeing, settings, sprites, value

KEY = jax.random.key(0)


@pytest.mark.parametrize("module", [encoder, goals, replay, value])
def test_examples_in_docstrings_hold(module):
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0


def fixed():
    """A goal setter whose value of a goal is its first number, whatever the state."""
    return value.Learner(lambda _: None, lambda _, states, goals: goals[..., :1] + 0 * states[..., :1], None)


def test_the_goal_setter_takes_the_best_of_those_it_samples():
    pool = jnp.arange(10, dtype=jnp.float32)[:, None] / 10
    states = jnp.zeros((2000, 1), jnp.float32)
    best = goals.propose_goals(KEY, fixed(), None, states, pool, n=10)
    assert set(best.tolist()) == {9}
    some = np.asarray(goals.propose_goals(KEY, fixed(), None, states, pool, n=2))
    share = np.bincount(some, minlength=10) / len(some)
    np.testing.assert_allclose(share, np.arange(10) / 45, atol=0.03)  # the larger of two that are drawn


def test_goals_below_the_threshold_are_left_unless_there_is_no_other():
    pool = jnp.array([[0.1], [0.2], [0.6]])
    one = goals.propose_goals(KEY, fixed(), None, jnp.zeros((200, 1)), pool, n=2, least=0.5)
    share = np.bincount(np.asarray(one), minlength=3) / 200
    assert share[2] == pytest.approx(2 / 3, abs=0.1)
    assert share[1] == pytest.approx(1 / 3, abs=0.1)


@pytest.mark.parametrize("threshold", [0.1, 0.2])
def test_a_goal_that_cannot_be_reached_is_dropped_within_k_tries(threshold):
    """Hope makes a goal worth 0.3. Every try that comes to nothing is learned from; soon it is worth less."""
    k, hope = 30, 0.3
    setter = value.learner(value.Pair((16,), 1), 4, 1e-2)
    eye, step = jnp.eye(4), jax.jit(lambda key, learned, stage: learn(setter, key, learned, stage, hope))
    learned = setter.init(KEY)
    stage = replay.Stage(*(jnp.zeros((32, 4)),) * 2, jnp.zeros(32), jnp.zeros((32, 4)), *(jnp.ones(32, bool),) * 2)
    for number in range(100):  # hope alone: nothing was tried
        learned = step(jax.random.key(number), learned, stage._replace(gains=jnp.full(32, hope)))
    worth = lambda: float(setter.apply(learned.params, jnp.zeros((1, 4)), eye[:1])[0, 0])  # noqa: E731
    assert worth() > threshold
    tries = 0
    while worth() > threshold:
        tries += 1
        stage = stage._replace(goals=jnp.tile(eye[:1], (32, 1)))
        learned = step(jax.random.key(1000 + tries), learned, stage)
        assert tries <= k
    assert 1 <= tries <= k


def learn(setter, key, learned, stage, hope):
    dreams = jax.nn.one_hot(jax.random.randint(key, (32,), 0, 4, jnp.int32), 4, dtype=jnp.float32)
    targets = goals.stage_target(setter, learned.slow, stage, jnp.eye(4), 0.9, jnp.zeros(32))
    return goals.learn(setter, learned, stage, targets, dreams, goals.Optimism(0.25, hope))


def test_optimism_has_its_share_of_a_batch_and_no_more():
    which = replay.share_of_dreams(64, 0.25)
    mixed = replay.dreamt(which, (jnp.ones((64, 3)), jnp.ones(64)), (jnp.zeros((64, 3)), jnp.zeros(64)))
    assert [float(part.mean()) for part in mixed] == [0.25, 0.25]
    assert not replay.share_of_dreams(64, 0.0).any()


def test_hope_falls_with_the_share_of_tries_as_the_formula_says():
    """In a table: f R / M from hope, (1 - f) p v from tries, over the sum of f / M and (1 - f) p."""
    f, hope, goals_there, share, real = 0.2, 0.3, 10, 0.4, 0.0
    worth = (f / goals_there * hope + (1 - f) * share * real) / (f / goals_there + (1 - f) * share)
    draws = np.random.default_rng(0)
    dream = draws.random(200_000) < f
    goal = np.where(dream, draws.integers(0, goals_there, 200_000), draws.random(200_000) >= share)
    assert np.where(dream, hope, real)[goal == 0].mean() == pytest.approx(worth, rel=0.1)


@pytest.mark.parametrize("steps", [500, 20_000])
def test_optimism_may_count_as_so_many_tries(steps):
    """In a table a pair that was tried c times is worth (k hope + c v) / (k + c), however many steps were made."""
    fraction, hope, tries, pairs, known, real = 0.3, 0.5, 2.0, 50, 6, -1.0
    weight = float(replay.weight_of_dreams(fraction, tries, pairs, jnp.float32(steps)))
    draws = np.random.default_rng(0)
    dream = draws.random(2_000_000) < fraction
    pair = np.where(dream, draws.integers(0, pairs, dream.size), draws.random(dream.size) >= known / steps)
    mine = pair == 0
    worth = np.average(np.where(dream, hope, real)[mine], weights=np.where(dream, weight, 1.0)[mine])
    assert worth == pytest.approx((tries * hope + known * real) / (tries + known), abs=0.04)
    assert float(replay.weight_of_dreams(fraction, tries, pairs, jnp.float32(1))) == 1


@pytest.fixture(scope="module")
def episode():
    """Five episodes of at most six steps with two goals each: states are numbers that count, the last is cut short."""
    count, steps = 5, 6
    states = (
        jnp.arange(steps + 1, dtype=jnp.float32)[None, :, None]
        + 10 * jnp.arange(count, dtype=jnp.float32)[:, None, None]
    )
    length = jnp.array([6, 6, 6, 6, 2], jnp.int32)
    goals_set = jnp.stack([jnp.full((count, 1), -1.0), jnp.full((count, 1), -2.0)], axis=1)
    return replay.Episode(
        states, jnp.tile(jnp.arange(steps, dtype=jnp.int32), (count, 1)), jnp.ones((count, steps)), goals_set,
        jnp.zeros((count, 2), bool), length, length == 2,
    )  # fmt: skip


def test_hindsight_gives_goals_that_the_same_episode_came_to_later(episode):
    many = jax.vmap(lambda key: replay.transitions(key, episode, 1.0))(jax.random.split(KEY, 200))
    step, goal = np.asarray(many.states[..., 0]), np.asarray(many.goals[..., 0])
    assert (goal // 10 == step // 10).all()
    assert (goal > step).all()
    assert (goal[:, -1] <= 42).all()  # no state from after the end
    np.testing.assert_array_equal(many.after[..., 0], step + 1)
    np.testing.assert_array_equal(np.asarray(many.over), np.isclose(step, 41))
    assert {tuple(pair) for pair in np.stack([step, goal], -1)[:, 0].tolist()} >= {(0.0, 1.0), (0.0, 6.0), (5.0, 6.0)}


def test_without_hindsight_goals_are_those_that_were_set(episode):
    some = replay.transitions(KEY, episode, 0.0)
    np.testing.assert_array_equal(some.goals[:, 0], np.where(np.asarray(some.states[:, 0]) % 10 < 3, -1, -2))


def test_a_stage_sums_what_its_goal_brought(episode):
    many = jax.vmap(lambda key: replay.stages(key, episode, 0.5))(jax.random.split(KEY, 50))
    first = np.asarray(many.states[..., 0])
    assert set((first % 10).ravel().tolist()) == {0.0, 3.0}
    np.testing.assert_allclose(many.gains[:, :4], 1.75)
    np.testing.assert_allclose(many.gains[:, 4], 1.5)  # two steps
    np.testing.assert_array_equal(many.after[:, :4, 0], first[:, :4] + 3)
    np.testing.assert_array_equal(many.goals[..., 0], np.where(first % 10 == 0, -1, -2))
    assert np.asarray(many.over).sum(axis=0).tolist() == [0, 0, 0, 0, 50]


def test_the_diverse_stream_takes_what_it_has_not(episode):
    del episode
    kept = jnp.array([[0.0], [1.0]])
    assert replay.most_different(jnp.array([[0.0], [5.0], [1.1], [3.0]]), kept, 2).tolist() == [1, 3]


def test_double_q_takes_the_action_of_one_network_and_the_value_of_the_other():
    now, slow = jnp.array([[1.0, 2.0], [3.0, 0.0]]), jnp.array([[0.7, 0.4], [5.0, 9.0]])
    over, rewards = jnp.array([False, False]), jnp.array([0.1, 0.0])
    np.testing.assert_allclose(value.double_target(rewards, over, 0.5, now, slow), [0.3, 2.5])
    np.testing.assert_allclose(value.double_target(rewards, over, 0.5, now, slow, (0.0, 1.0)), [0.3, 1.0])
    np.testing.assert_allclose(value.double_target(rewards, ~over, 0.5, now, slow), rewards)


def test_kl_is_the_integral_that_it_stands_for():
    mean, deviation = 0.7, 0.4
    x = np.linspace(-6, 6, 200_001)
    density = lambda x, mean, deviation: np.exp(-(((x - mean) / deviation) ** 2) / 2) / deviation / np.sqrt(2 * np.pi)  # noqa: E731
    p, q = density(x, mean, deviation), density(x, 0, 1)
    integral = np.sum(np.where(p > 0, p * np.log(np.maximum(p, 1e-300) / q), 0)) * (x[1] - x[0])
    found = encoder.kl_of_gaussians(jnp.array([[mean]]), jnp.log(jnp.array([[deviation**2]])))
    np.testing.assert_allclose(found, [integral], rtol=1e-4)


def test_kl_is_what_samples_of_a_code_say_on_average():
    mean, deviation = np.array([0.7, -0.2]), np.array([0.4, 1.5])
    z = mean + deviation * np.random.default_rng(0).normal(size=(200_000, 2))
    density = -np.log(deviation) - ((z - mean) / deviation) ** 2 / 2
    found = encoder.kl_of_gaussians(jnp.array([mean]), jnp.log(jnp.array([deviation]) ** 2))
    np.testing.assert_allclose(found, [(density + z**2 / 2).sum(axis=1).mean()], rtol=0.02)


def test_mmd_is_none_between_equal_draws_and_more_the_farther_they_are():
    one, other = jax.random.normal(KEY, (2, 400, 3), jnp.float32)
    same, near, far = (float(encoder.mmd(one, other + shift)) for shift in (0.0, 0.5, 2.0))
    assert abs(same) < 0.02 < near < far
    x, y = np.asarray(one[:5], float), np.asarray(other[:4], float)

    def kernel(a, b):
        away = ((a[:, None] - b[None]) ** 2).sum(-1)
        return sum(6 * scale / (6 * scale + away) for scale in encoder.SCALES)

    within = [(kernel(z, z).sum() - np.trace(kernel(z, z))) / len(z) / (len(z) - 1) for z in (x, y)]
    by_hand = sum(within) - 2 * kernel(x, y).mean()
    np.testing.assert_allclose(encoder.mmd(one[:5], other[:4]), by_hand, rtol=1e-3, atol=1e-5)


def test_pixels_that_depart_from_the_average_count_more():
    weights = encoder.pixel_weights(jnp.array([[0.0, 0.0, 0.0, 1.0]]), jnp.zeros(4), 2.0)
    np.testing.assert_allclose(weights, [[1, 1, 1, 9]], rtol=1e-4)


def test_every_picture_has_one_character():
    shown = sprites.pictures(8)
    assert shown.shape == (49, 64)
    assert (np.asarray(sprites.character(jnp.asarray(shown))).sum(axis=1) == 4).all()


@pytest.mark.slow
def test_a_character_is_seen_by_weights_and_not_by_the_plain_loss():
    errors = [
        seeing.learn(12, 16, 1500, 1, 0, **options).character.item()
        for name, options in seeing.KINDS.items() if name != "residual"
    ]  # fmt: skip
    assert errors[1] < errors[0] / 10


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: environments.make("four-room"), "env is 'four-room', which is not known: did you mean four-rooms?"),
        (lambda: environments.make("chess"), "there are four-rooms, deep-sea, bit-flip, sprites"),
        (lambda: environments.make("four-rooms", 8), "size is 8, and must be odd"),
        (lambda: environments.make("deep-sea", 0), "size is 0, and must be 1 or more"),
        (lambda: environments.make("sprites", 4), "size is 4, and must be 5 or more"),
        (lambda: check(stages=7), "stages is 7, and must divide the 20 steps of an episode"),
        (lambda: check(optimism=1.5), "optimism is 1.5, and must lie between 0 and 1"),
        (lambda: check(tries=-1.0), "tries is -1.0, and must be 0 or more"),
        (lambda: check(episodes=3), "episodes is 3, and must be 16 or more"),
        (lambda: check(chooser="given"), "this environment gives no goals"),
    ],
)
def test_refuses_what_cannot_work(make, message):
    with pytest.raises(jaxga.InputError, match=message.replace("?", r"\?")):
        make()


def check(**chosen):
    settings.check(environments.make("four-rooms", 5), settings.Settings(**chosen))
