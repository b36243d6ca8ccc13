"""Games on the host: real emulators, played asynchronously, with results that depend on nothing but key and network."""

import os
import signal
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import arena, checkpoint, nn, pedigree, report, tasks
from jaxga import variation as v
from jaxga.base import Purpose
from jaxga.tasks.atari import film

STEPS = 30
WIDTH = 4
ONE = {"num_envs": 1, "batch_size": 1, "num_threads": 1}


def small(actions):
    return nn.MLP((8, actions))


@pytest.fixture(autouse=True)
def _few_at_once(monkeypatch):
    """Without optimisation a product of 32 rows takes long."""
    monkeypatch.setattr(sys.modules["jaxga.evaluate.rollouts"], "WIDTH", WIDTH)


@pytest.fixture(scope="module")
def game():
    return tasks.atari("Frostbite", small(18), max_steps=STEPS)


@pytest.fixture(scope="module")
def pole():
    return tasks.envpool_game("CartPole-v1", nn.MLP((8, 2)), max_steps=50)


def idle(group, rows, observations):
    del group, observations
    return np.zeros(len(rows), np.int32)


def algorithm_of(game, mutation, **options):
    return jaxga.ga(game.init, mutation, parents=2, children=12, **options)


def scores(algorithm, game, seed=0, **options):
    return jaxga.rollouts(algorithm, game, **options)(jax.jit(algorithm.init)(jax.random.key(seed)))


def test_observers_of_a_game_see_what_a_plain_loop_sees(pole):
    """The end of an episode, its return and what was done in it; the mean over two episodes."""
    observers = {
        "end": jaxga.observe.last(lambda _, observation: observation, (4,)),
        "reward": jaxga.observe.total(lambda step: step.reward),
        "right": jaxga.observe.total(lambda step: step.action),
    }
    watched = pole._replace(observe=observers)
    algorithm = algorithm_of(pole, v.gaussian(v.absolute(1.0)))
    plays = jaxga.rollouts(algorithm, watched, episodes=2, envs=3, threads=1)
    state = jax.jit(algorithm.init)(jax.random.key(0))
    found = plays(state)
    assert {name: leaf.shape for name, leaf in found.metrics.items() if name in observers} == {
        "end": (12, 4), "reward": (12,), "right": (12,),
    }  # fmt: skip
    np.testing.assert_array_equal(found.metrics["reward"], found.fitness)
    starts = plays.starts(state, np.arange(1), 2, Purpose.EVALUATION)[0]
    params = plays.programs.individual(state, np.int32(0)).params
    ends, rights = [], []
    for start in starts:
        env = pole.make(**ONE, seed=int(start))
        observation, over, right = env.reset()[0], False, 0
        while not over:
            action = np.asarray(plays.programs.ask(params, None, np.repeat(observation, WIDTH, 0)))[:1]
            observation, _, ended, cut, _ = env.step(action.astype(np.int32))
            right, over = right + int(action[0]), bool(ended[0] or cut[0])
        ends.append(observation[0])
        rights.append(right)
        env.close()
    np.testing.assert_allclose(found.metrics["end"][0], np.mean(ends, axis=0), rtol=1e-5)
    assert float(found.metrics["right"][0]) == np.mean(rights)
    due = plays.like(state)
    assert jax.tree.map(lambda leaf: leaf.shape, found.metrics) == jax.tree.map(lambda leaf: leaf.shape, due.metrics)


def test_paired_games_are_played_by_parents_from_the_same_starts(pole):
    """A child that is its parent gains nothing; others gain the difference."""
    algorithm = algorithm_of(pole, v.gaussian(v.absolute(1.0)))
    state = jax.jit(algorithm.init)(jax.random.key(0))
    plain, against = (jaxga.rollouts(algorithm, game, envs=3, threads=1) for game in (pole, jaxga.paired(pole)))
    scores = plain(state), against(state)
    starts = plain.starts(state, np.arange(12), 1, Purpose.EVALUATION)
    parents = plain.score(state, 12 + np.arange(12) // 6, starts).fitness
    np.testing.assert_array_equal(scores[1].fitness, scores[0].fitness - parents)
    still = algorithm_of(pole, v.gaussian(v.absolute(0.0)))
    state = jax.jit(still.init)(jax.random.key(0))
    assert (jaxga.rollouts(still, jaxga.paired(pole), envs=3, threads=1)(state).fitness == 0).all()
    with pytest.raises(jaxga.InputError, match="an elite cannot keep its improvement"):
        jaxga.rollouts(algorithm_of(pole, v.gaussian(v.absolute(1.0)), elites=1), jaxga.paired(pole))


@pytest.mark.parametrize(
    ("mutation", "founders"),
    [
        (v.low_rank(v.absolute(0.3)), jaxga.common_founder),
        pytest.param(v.gaussian(v.absolute(0.3)), jaxga.random_founders, marks=pytest.mark.slow),
    ],
)
def test_fitness_depends_neither_on_environments_nor_on_threads(game, mutation, founders):
    algorithm = algorithm_of(game, mutation, founders=founders)
    few, many, other = (
        scores(algorithm, game, seed, envs=envs, threads=threads)
        for seed, envs, threads in [(0, 3, 1), (0, 9, 2), (1, 9, 2)]
    )
    chex.assert_trees_all_equal(few, many)
    assert len(set(few.fitness.tolist())) > 1
    assert few.fitness.tolist() != other.fitness.tolist()
    assert int(few.metrics["agent_steps"]) == 12 * STEPS


def plainly(game, params, start, width=WIDTH):
    """One episode, one environment, one step after the other."""
    seeded = game.starts is None
    environment = game.make(seed=[start] if seeded else 0, **ONE)
    passing, beginning = (0, None) if seeded else divmod(start, len(game.starts))
    seen, info = environment.reset()
    while not seeded and game.starts.get(info["ram"][0].tobytes()) != beginning:
        seen, info = environment.reset()
    for _ in range(passing):
        seen, *_ = environment.step(np.zeros(1, np.int32))
    total, act = 0.0, jax.jit(game.act)
    for step in range(game.max_steps):
        if step < game.unseen:
            seen[:, : game.unseen - step] = 0
        action = act(params, np.repeat(seen, width, axis=0))[:1]
        seen, reward, ended, cut, _ = environment.step(np.asarray(action))
        total += reward[0]
        if ended[0] or cut[0]:
            break
    return total, step + 1


@pytest.mark.parametrize("fixture", ["game", "pole"])
def test_an_episode_is_that_of_a_plain_loop(fixture, request):
    game = request.getfixturevalue(fixture)
    algorithm = algorithm_of(game, v.gaussian(v.absolute(0.5)))
    plays = jaxga.rollouts(algorithm, game, episodes=2, envs=5, threads=2)
    state = jax.jit(algorithm.init)(jax.random.key(3))
    evaluation = plays(state)
    starts = plays.starts(state, np.arange(12), 2, jaxga.base.Purpose.EVALUATION)
    for child in (0, 7):
        params = jax.jit(algorithm.offspring)(state, *divmod(child, 6)).params
        alone = [plainly(game, params, int(start), 2) for start in starts[child]]
        assert float(evaluation.fitness[child]) == pytest.approx(np.mean([total for total, _ in alone]))
        assert float(evaluation.metrics["episode_steps"][child]) == np.mean([steps for _, steps in alone])
    assert len(set(starts.ravel().tolist())) > 12


def test_low_rank_children_play_as_their_dense_selves(game):
    algorithm = algorithm_of(game, v.low_rank(v.absolute(0.3)))
    plays = jaxga.rollouts(algorithm, game, envs=5, threads=2)
    assert plays.programs.rows == 6
    state = jax.jit(algorithm.init)(jax.random.key(3))
    dense = plays.score(state, np.arange(12), plays.starts(state, np.arange(12), 1, 1))
    np.testing.assert_array_equal(plays(state).fitness, dense.fitness)


def test_a_step_is_four_frames_by_the_emulators_own_counter(game):
    environment = game.make(seed=0, **ONE)
    _, info = environment.reset()
    counter = [int(info["ram"][0, 1])]  # Frostbite counts its frames there
    counter += [int(environment.step(np.zeros(1, np.int32))[-1]["ram"][0, 1]) for _ in range(10)]
    assert (np.diff(counter) % 256 == game.frames).all()
    beginnings = [int(np.frombuffer(memory, np.uint8)[1]) for memory in game.starts]
    assert np.diff(beginnings).tolist() == [1, 1, 1]


def test_every_start_comes_after_its_number_of_frames(game):
    """1 to 30 of them, whatever a slot was reset to and however many steps were let pass."""
    counters = {}

    class Seen(arena.Play):
        def begin(self, slot, memory):
            super().begin(slot, memory)
            if self.playing[slot] >= 0:
                start = self.episodes[self.playing[slot]].start
                counters[start] = np.frombuffer(memory, np.uint8)[1] + game.frames * self.passing[slot]

    place = arena.Arena(game.make, game.actions, 6, 2, game.starts, game.unseen)
    episodes = [arena.Episode(0, 0, start) for start in range(30)]
    pool = place._make(6)
    Seen(place, pool, range(6), episodes, idle, WIDTH, 1, arena.ignore).run()
    base = counters[0]
    assert [int(counters[start] - base) for start in range(30)] == list(range(30))


def test_what_was_on_the_screen_before_the_start_is_black(game):
    shown = []

    def look(group, rows, observations):
        shown.append(observations[0].reshape(4, -1).max(axis=1) > 0)
        return idle(group, rows, observations)

    place = arena.Arena(game.make, game.actions, 2, 1, game.starts, game.unseen)
    place.play([arena.Episode(0, 0, 17)], look, WIDTH, 5)
    assert [int(frames.sum()) for frames in shown] == [1, 2, 3, 4, 4]
    assert all(frames[-1] for frames in shown)


@pytest.mark.slow
def test_sticky_actions_and_games_with_a_memory_get_fresh_environments():
    sticky = tasks.atari("Frostbite", small(18), max_steps=STEPS, sticky=0.25)
    assert sticky.starts is None
    assert tasks.atari("Assault", small(7)).starts is None  # its random numbers go on over a reset
    algorithm = algorithm_of(sticky, v.low_rank(v.absolute(0.3)))
    first, again = (scores(algorithm, sticky, envs=envs, threads=2) for envs in (2, 4))
    chex.assert_trees_all_equal(first, again)


def test_nobody_plays_a_start_twice(game):
    algorithm = algorithm_of(game, v.gaussian(v.absolute(0.3)))
    plays = jaxga.rollouts(algorithm, game, envs=8, threads=2)
    params = game.init(jax.random.key(0))
    test = plays.test(params, jax.random.key(1), 100)
    assert test.fitness.shape == (100,)
    assert int(test.metrics["agent_steps"]) == 100 * STEPS
    assert int(test.metrics["played_steps"]) <= 30 * STEPS


def test_a_film_shows_the_recorded_episode(game):
    plays = jaxga.rollouts(algorithm_of(game, v.gaussian(v.absolute(0.3))), game, envs=2, threads=1)
    params = game.init(jax.random.key(0))
    total, actions = plays.record(params, 6)
    screens = film(game, 6, actions)
    assert screens.shape == (STEPS, 210, 160, 3)
    assert (screens[0] != screens[-1]).any()
    assert total == plainly(game, params, 6)[0]


def best_of(game, **options):
    validates = jaxga.best_validated
    return algorithm_of(game, v.low_rank(v.absolute(0.3)), elites=1, reevaluate=True, champion=validates, **options)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.slow
def test_a_run_that_was_left_within_a_generation_goes_on_as_if_it_had_not(pole, tmp_path):
    algorithm = best_of(pole, founders=jaxga.random_founders)

    def go(path, generations=3, watch=arena.ignore, resume=False):
        plays = jaxga.rollouts(algorithm, pole, envs=6, threads=2, watch=watch)
        directory = report.RunDirectory(path, "game", {}, resume)
        return jaxga.run(algorithm, jaxga.validated(plays, 3, 4), generations=generations, directory=directory)

    heard, told = [], []

    def kill(*news):
        told.append(news)
        if len(told) == int(0.6 * len(heard)):  # in generation 1
            os.kill(os.getpid(), signal.SIGINT)

    whole = go(tmp_path / "whole", watch=lambda *news: heard.append(news))
    with pytest.raises(jaxga.Interrupted) as caught:
        go(tmp_path / "left", watch=kill)
    left = caught.value.result
    assert left.stopped_because == "interrupted by SIGINT"
    assert 0 < int(left.state.generation) < 3
    resumed = go(tmp_path / "left", resume=True)
    chex.assert_trees_all_equal(whole.state, resumed.state)
    chex.assert_trees_all_equal(whole.pedigree.recipes, resumed.pedigree.recipes)
    for name in ("agent_steps", "elite_mean", "candidates_mean"):
        np.testing.assert_array_equal(whole.history[name], resumed.history[name])
    chex.assert_trees_all_equal(
        pedigree.individual(algorithm, whole.pedigree, 3, algorithm.children).params, whole.best.params
    )
    assert checkpoint.latest(tmp_path / "left" / "checkpoints") == 3


def test_a_run_ends_with_the_generation_that_uses_up_its_steps(pole):
    algorithm = algorithm_of(pole, v.gaussian(v.absolute(0.5)))
    result = jaxga.run(algorithm, jaxga.rollouts(algorithm, pole, envs=4, threads=1), generations=50, steps=600)
    steps = result.history["agent_steps"]
    assert steps[-1] >= 600 > steps[-2]
    assert result.stopped_because == "600 agent steps are used up"
    assert (np.diff(steps) > 0).all()


def test_continuous_actions_stay_within_their_bounds():
    game = tasks.envpool_game("Pendulum-v1", nn.MLP((1,)), max_steps=20)
    actions = game.act(game.init(jax.random.key(0)), 100 * jnp.eye(3))
    assert actions.shape == (3, 1)
    assert (jnp.abs(actions) <= 2).all()
    algorithm = algorithm_of(game, v.gaussian(v.absolute(0.5)))
    evaluation = scores(algorithm, game, envs=4, threads=2)
    assert (evaluation.fitness < 0).all()
    assert (evaluation.metrics["episode_steps"] == 20).all()


def test_games_in_bad_input(game, monkeypatch):
    with pytest.raises(jaxga.InputError, match="game 'Frostbight' is not known: did you mean Frostbite"):
        tasks.atari("Frostbight")
    with pytest.raises(jaxga.InputError, match="did you mean CartPole-v1"):
        tasks.envpool_game("Cartpole-v1", nn.MLP((2,)))
    with pytest.raises(jaxga.InputError, match="the network has 3 outputs, and Frostbite-v5 takes 18"):
        tasks.atari("Frostbite", small(3))
    with pytest.raises(jaxga.InputError, match=r"sticky is 1.5, and must lie between 0 and 1"):
        tasks.atari("Frostbite", sticky=1.5)
    with pytest.raises(jaxga.InputError, match="envs is 0"):
        scores(algorithm_of(game, v.gaussian(v.absolute(0.3))), game, envs=0)
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(jaxga.InputError, match=r"envpool is missing .*pip install 'jaxga\[games\]'"):
        tasks.atari_games()


def test_memory_that_no_reset_clears_is_refused(game):
    """Were the starts wrong, the arena would reset for ever."""
    place = arena.Arena(game.make, game.actions, 2, 1, {b"never": 0, b"seen": 1}, game.unseen)
    with pytest.raises(jaxga.InputError, match="carries memory over"):
        place.play([arena.Episode(0, 0, 1)], idle, WIDTH, 5)


def test_the_network_of_the_paper():
    blank = jnp.zeros((1, 84, 84, 4))
    sizes = [
        sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0), blank)))
        for network in (tasks.paper_network(18), tasks.paper_network(18, small=True))
    ]
    assert sizes == [4_052_658, 1_008_450]
    params = jax.jit(tasks.paper_network(18, small=True).init)(jax.random.key(0), blank)["params"]
    hidden, last = (params[layer]["kernel"] for layer in ("Dense_0", "Dense_1"))
    assert float(hidden.std()) * np.sqrt(hidden.shape[0]) == pytest.approx(1, rel=0.02)
    assert float(last.std()) * np.sqrt(256) == pytest.approx(0.1, rel=0.05)
    assert all((layer["bias"] == 0).all() for layer in params.values())
