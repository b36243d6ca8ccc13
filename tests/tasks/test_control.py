"""Episodes against numbers worked out by hand, and environments against references, step by step."""

import sys
from importlib.metadata import version

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from scipy import stats

import jaxga
from jaxga import nn, tasks, variation
from jaxga.tasks import Box, Environment, Policy

KEY = jax.random.key(0)


def ladder(lost=False, count=None):
    """Step t of an episode is worth t. It lasts 1 to 9 steps, and after its end steps would be worth 1000.

    With ``lost`` the reward of step 3 is NaN. ``count`` is called once a step and episode, whatever comes of it.
    """

    def reset(key):
        return (jnp.int32(0), jax.random.randint(key, (), 1, 10)), jnp.zeros(2)

    def step(key, state, action):
        del key, action
        height, top = state[0] + 1, state[1]
        if count is not None:
            jax.debug.callback(count, height)
        reward = jnp.where(height > top, 1000.0, height.astype(jnp.float32))
        reward = jnp.where((height == 3) & lost, jnp.nan, reward)
        return (height, top), jnp.full(2, height, jnp.float32), reward, height >= top

    return Environment(reset, step, (2,), 3, 12)


def heights(key, episodes):
    """How many steps the episodes of `ladder` last."""
    keys = [jax.random.fold_in(part, 0) for part in jax.random.split(key, episodes)]
    return np.array([int(ladder().reset(part)[0][1]) for part in keys])


def still(action):
    """A policy that always does the same, and has one weight to be a pytree."""
    return Policy(lambda key: jnp.zeros(()), lambda params, keys: (), lambda p, m, obs, keys: (m, action(p, obs)))


STANDING = still(lambda params, observations: jnp.zeros(len(observations), jnp.int32))


def test_observers_see_every_step_until_the_end_and_none_after_it():
    """The height of the ladder is the number of steps; at the end it is the length of the episode."""
    heights_seen = jaxga.Observer(
        lambda state, observation: (jnp.zeros(3, jnp.int32), observation[0]),
        lambda seen, step: (seen[0].at[jnp.minimum(step.state[0], 2)].add(1), seen[1] + step.observation[0]),
        lambda seen: seen[0],
    )
    observers = {
        "top": jaxga.observe.last(lambda state, observation: observation),
        "return": jaxga.observe.total(lambda step: step.reward),
        "acted": jaxga.observe.total(lambda step: step.action),
        "counts": heights_seen,
    }
    with pytest.raises(jaxga.InputError, match=r"observe has \['return'\], which every episode measures"):
        tasks.control(ladder(), STANDING, observe=observers)
    observers["reward"] = observers.pop("return")
    one = still(lambda params, observations: jnp.ones(len(observations), jnp.int32))
    task = tasks.control(ladder(), one, episodes=8, block=4, observe=observers)
    score = jax.jit(task.evaluate)(KEY, task.init(KEY))
    lasts = heights(KEY, 8)
    assert score.metrics["top"].tolist() == [lasts.mean()] * 2
    assert float(score.metrics["reward"]) == float(score.fitness) == (lasts * (lasts + 1) / 2).mean()
    assert float(score.metrics["acted"]) == lasts.mean()
    assert score.metrics["counts"].tolist() == [0, 1, (lasts - 1).mean()]


@pytest.mark.slow
def test_descriptors_are_the_same_on_four_devices_and_lead_a_selection():
    ends = {"end": jaxga.observe.last(lambda state, observation: observation[:2])}
    task = tasks.control(tasks.cartpole(), nn.MLP((2,)), max_steps=20, observe=ends)
    seen = []

    def apply(_, scored, remembered):
        seen.append(scored.evaluation.metrics["end"].shape)
        return jaxga.Recipe(scored.index[scored.order[:2], None]), remembered, {}

    selection = jaxga.Selection(lambda *_: (), apply, elites=(0, 1))
    algorithm = jaxga.ga(
        task.init, variation.gaussian(variation.absolute(1.0)), parents=2, children=8, selection=selection
    )
    one, four = (jaxga.run(algorithm, task, 0, generations=3, chunk=2, devices=jax.devices()[:n]) for n in (1, 4))
    assert set(seen) == {(10, 2)}
    chex.assert_trees_all_equal(one.state, four.state)
    assert one.state.scores.metrics["end"].shape == (2, 2)
    assert not np.isnan(one.state.scores.metrics["end"]).any()


def test_an_observer_that_changes_what_it_keeps_is_refused():
    wrong = jaxga.Observer(lambda state, observation: 0.0, lambda seen, step: step.observation, lambda seen: seen)
    task = tasks.control(ladder(), STANDING, observe={"wrong": wrong})
    with pytest.raises(jaxga.InputError, match=r"add \(.*\) of an observer"):
        jax.jit(task.evaluate)(KEY, task.init(KEY))


def test_returns_and_steps_by_hand():
    task = tasks.control(ladder(), nn.MLP((3,)), episodes=8, block=4)
    score = jax.jit(task.evaluate)(KEY, task.init(KEY))
    lasts = heights(KEY, 8)
    assert len(set(lasts)) > 2
    returns = lasts * (lasts + 1) / 2
    assert score.metrics["steps"] == lasts.sum()
    assert score.metrics["episode_steps"] == np.float32(lasts.mean())
    assert score.metrics["worst_return"] == returns.min()
    assert score.fitness == np.float32(returns.mean())


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_max_steps_ends_episodes_at_that_very_step(limit):
    task = tasks.control(ladder(), STANDING, episodes=8, max_steps=limit, block=4)
    assert jax.jit(task.evaluate)(KEY, task.init(KEY)).metrics["steps"] == np.minimum(heights(KEY, 8), limit).sum()


def test_the_size_of_blocks_changes_no_bit():
    build = lambda block: tasks.control(tasks.cartpole(), nn.MLP((5, 2)), episodes=5, max_steps=70, block=block)  # noqa: E731
    params = build(1).init(KEY)
    one, *others = (jax.jit(build(block).evaluate)(KEY, params) for block in (1, 3, 16, 100))
    assert one.metrics["steps"] > 40
    for other in others:
        chex.assert_trees_all_equal(one, other)


def test_it_stops_once_all_of_a_chunk_are_over():
    """Individuals whose episodes last as long as their parameter says: nobody else's end changes a score."""
    calls = []

    def step(key, state, action):
        _, _, reward, _ = ladder(count=calls.append).step(key, (state, 9), action)
        return state + 1, jnp.zeros(2), reward, state + 1 >= action

    environment = Environment(lambda key: (jnp.int32(0), jnp.zeros(2)), step, (2,), 3, 1000)
    policy = still(lambda params, observations: jnp.full(len(observations), params.astype(jnp.int32)))
    task = tasks.control(environment, policy, episodes=2, block=3)
    scores = jax.jit(jax.vmap(task.evaluate, in_axes=(None, 0)))(KEY, jnp.array([2.0, 7.0, 1.0, 4.0]))
    jax.effects_barrier()
    np.testing.assert_array_equal(scores.metrics["steps"], [4, 14, 2, 8])
    np.testing.assert_array_equal(scores.fitness, [3, 28, 1, 10])
    assert len(calls) == 9 * 2 * 4  # three blocks of three steps, of all who are scored together


def test_nan_is_nobody_elses():
    task = tasks.control(ladder(lost=True), STANDING, episodes=8)
    assert jnp.isnan(jax.jit(task.evaluate)(KEY, task.init(KEY)).fitness)
    network = nn.MLP((2,))
    task = tasks.control(tasks.cartpole(), network, episodes=2, max_steps=30)
    params = jax.vmap(task.init)(jax.random.split(KEY, 3))
    broken = jax.tree.map(lambda leaf: leaf.at[1].set(jnp.nan), params)
    evaluate = jax.jit(jax.vmap(task.evaluate, in_axes=(None, 0)))
    right, scores = evaluate(KEY, params), evaluate(KEY, broken)
    np.testing.assert_array_equal(np.isnan(scores.fitness), [False, True, False])
    np.testing.assert_array_equal(scores.fitness[::2], right.fitness[::2])
    assert scores.metrics["steps"][1] == 2  # each of its episodes ends at once


@pytest.mark.parametrize("value", [jnp.nan, 1.0])
def test_a_continuous_action_that_is_nan_is_none(value):
    environment = ladder()._replace(actions=Box((-1.0,), (1.0,)))
    policy = still(lambda params, observations: jnp.full((len(observations), 1), value))
    score = jax.jit(tasks.control(environment, policy, episodes=8).evaluate)(KEY, jnp.zeros(()))
    assert bool(jnp.isnan(score.fitness)) == np.isnan(value)


def test_draws_are_everyones_or_ones_own():
    for key, distinct in ((jaxga.common, 1), (jaxga.independent, 8)):
        task = tasks.control(ladder(), STANDING, episodes=8, key=key)
        algorithm = jaxga.ga(task.init, variation.gaussian(variation.absolute(0.1)), parents=1, children=8)
        fitness = np.asarray(jaxga.vmapped(algorithm, task)(algorithm.init(KEY)).fitness)
        assert len(np.unique(fitness)) in range((distinct + 1) // 2, distinct + 1)
    evaluate = jax.jit(task.evaluate)
    assert evaluate(KEY, jnp.zeros(())).fitness == evaluate(KEY, jnp.zeros(())).fitness
    assert evaluate(KEY, jnp.zeros(())).fitness != evaluate(jax.random.key(1), jnp.zeros(())).fitness


def test_steps_of_an_episode_draw_for_themselves():
    """An environment that pays what it draws: steps, episodes, generations differ, policy and environment too."""

    def step(key, state, action):
        return state, jnp.zeros(1), jax.random.uniform(key) - action[0], jnp.bool_(False)

    draw = lambda params, memory, observations, keys: (memory, jax.vmap(jax.random.uniform)(keys)[:, None])  # noqa: E731
    environment = Environment(lambda key: ((), jnp.zeros(1)), step, (1,), Box((0.0,), (1.0,)), 400)
    task = tasks.control(environment, Policy(lambda key: jnp.zeros(()), lambda params, keys: (), draw), episodes=84)
    sums = jax.vmap(task.evaluate, in_axes=(0, None))(jax.random.split(KEY, 30), jnp.zeros(()))
    # The mean of 64 sums of 400 differences of two uniform numbers, each of variance 1 / 6.
    assert stats.kstest(sums.fitness / np.sqrt(400 / 6 / 64), "norm").pvalue > 1e-3


def test_validation_is_always_the_same_and_nobodys_training():
    task = tasks.control(ladder(), STANDING, episodes=100, validation_episodes=100)
    validate = jax.jit(task.validate)
    assert validate(jnp.zeros(())).metrics["steps"] == validate(jnp.zeros(())).metrics["steps"]
    trained = [int(jax.jit(task.evaluate)(jax.random.key(seed), jnp.zeros(())).metrics["steps"]) for seed in range(5)]
    assert int(validate(jnp.zeros(())).metrics["steps"]) not in trained
    assert 400 < validate(jnp.zeros(())).metrics["steps"] < 600


def test_a_policy_remembers_within_an_episode_alone():
    """The action counts the steps so far, the reward is the action."""

    def step(key, state, action):
        state, observation, _, done = ladder().step(key, state, action)
        return state, observation, action.astype(jnp.float32), done

    counting = Policy(lambda key: jnp.zeros(()), lambda params, keys: jnp.zeros(len(keys), jnp.int32),
                      lambda params, memory, observations, keys: (memory + 1, memory))  # fmt: skip
    task = tasks.control(ladder()._replace(step=step), counting, episodes=8, block=2)
    lasts = heights(KEY, 8)
    assert jax.jit(task.evaluate)(KEY, task.init(KEY)).fitness == np.float32((lasts * (lasts - 1) / 2).mean())


def test_a_recurrent_network_is_a_policy():
    cell, head, environment = linen.GRUCell(4), nn.MLP((2,)), tasks.bandit(pulls=6)

    def init(key):
        memory = jnp.zeros((1, 4))
        return {"cell": cell.init(key, memory, jnp.zeros((1, 4))), "head": head.init(key, memory)}

    def act(params, memory, observations, keys):
        memory, seen = cell.apply(params["cell"], memory, observations)
        return memory, jax.vmap(tasks.greedy)(keys, head.apply(params["head"], seen))

    task = tasks.control(environment, Policy(init, lambda params, keys: jnp.zeros((len(keys), 4)), act), episodes=3)
    algorithm = jaxga.ga(task.init, variation.low_rank(variation.relative(0.5)), parents=1, children=4)
    assert np.isfinite(jaxga.vmapped(algorithm, task)(algorithm.init(KEY)).fitness).all()


def test_actions_by_hand():
    greedy = jax.vmap(tasks.greedy, in_axes=(None, 0))
    outputs = jnp.array([[1.0, 2.0, 0.0], [2.0, 2.0, 1.0], [0.0, -jnp.inf, 3.0], [jnp.nan, 1.0, 2.0]])
    np.testing.assert_array_equal(greedy(KEY, outputs), [1, 0, 2, -1])
    squash = tasks.squashed(Box((-2.0, 0.0), (2.0, 1.0)))
    np.testing.assert_allclose(squash(KEY, jnp.array([0.5, -50.0])), [2 * np.tanh(0.5), 0], atol=1e-6)
    drawn = jax.vmap(lambda key: tasks.drawn(key, jnp.log(jnp.array([0.2, 0.5, 0.3]))))(jax.random.split(KEY, 2000))
    assert stats.chisquare(np.bincount(drawn, minlength=3), [400, 1000, 600]).pvalue > 1e-3


def test_statistics_are_those_of_observations_that_count():
    def noisy(key, worth):
        return jnp.stack([jax.random.normal(key) * 2 + 3, jnp.float32(5), worth])

    def step(key, state, action):
        del action
        return state + 1, noisy(key, jnp.where(state >= 3, 1e6, 1.0)), jnp.float32(0), state >= 2

    environment = Environment(lambda key: (jnp.int32(0), noisy(key, jnp.float32(1))), step, (3,), 2, 50)
    found = tasks.statistics(environment, episodes=2000)
    np.testing.assert_allclose(found.mean, [3, 5, 1], atol=0.1)  # what comes after the end, 1e6, is not seen
    np.testing.assert_allclose(found.std, [2, 1, 1], atol=0.1)
    chex.assert_trees_all_equal(found, tasks.statistics(environment, episodes=2000))
    assert found.mean[0] != tasks.statistics(environment, episodes=2000, seed=1).mean[0]


def test_networks_see_standard_deviations():
    """The observation 7 with mean 3 and standard deviation 2 is seen as 2, and 1000 as 10."""

    def step(key, state, action):
        del key
        return state, jnp.array([1000.0]), action[0], jnp.bool_(False)

    environment = Environment(lambda key: ((), jnp.array([7.0])), step, (1,), Box((-99.0,), (99.0,)), 2)
    see = still(lambda params, observations: observations)
    normalise = tasks.Statistics(jnp.array([3.0]), jnp.array([2.0]))
    for given, expected in ((normalise, 12), (None, 1007)):
        assert (
            jax.jit(tasks.control(environment, see, normalise=given).evaluate)(KEY, jnp.zeros(())).fitness == expected
        )


def cartpole_by_numpy(state, action):
    """Barto, Sutton and Anderson (1983) as the Gym environment has it, in float64."""
    x, v, a, w = state
    total, pole, length = 1.1, 0.1, 0.5
    force = 10.0 if action == 1 else -10.0
    inner = (force + pole * length * w * w * np.sin(a)) / total
    turn = (9.8 * np.sin(a) - np.cos(a) * inner) / (length * (4 / 3 - pole * np.cos(a) ** 2 / total))
    move = inner - pole * length * turn * np.cos(a) / total
    after = np.array([x + 0.02 * v, v + 0.02 * move, a + 0.02 * w, w + 0.02 * turn])
    return after, abs(after[0]) > 2.4 or abs(after[2]) > 12 * np.pi / 180


def test_cartpole_step_by_step():
    """From states all over, and within an episode that leaves the track and one whose pole falls."""
    environment, rng = tasks.cartpole(), np.random.default_rng(0)
    step, endings = jax.jit(environment.step), []
    for start, action in (([2.3, 1.0, 0.0, 0.0], 1), ([0.0, 0.0, 0.0, 0.0], 0)):
        state, over = jnp.array(start), False
        while not over:
            expected, over = cartpole_by_numpy(np.asarray(state, np.float64), action)
            state, observation, reward, done = step(KEY, state, jnp.int32(action))
            np.testing.assert_allclose(observation, expected, rtol=1e-5, atol=1e-6)
            assert (float(reward), bool(done)) == (1, over)
        endings.append(abs(float(state[0])) > 2.4)
    assert endings == [True, False]
    states, actions = rng.normal(size=(200, 4)).astype(np.float32), rng.integers(2, size=200)
    found, _, _, done = jax.vmap(environment.step, in_axes=(None, 0, 0))(KEY, states, actions)
    pairs = [cartpole_by_numpy(state.astype(np.float64), action) for state, action in zip(states, actions, strict=True)]
    np.testing.assert_allclose(found, [state for state, _ in pairs], rtol=1e-4, atol=1e-5)
    assert done.tolist() == [over for _, over in pairs]
    first, seen = jax.vmap(environment.reset)(jax.random.split(KEY, 100))
    assert (jnp.abs(first) <= 0.05).all()
    assert (first == seen).all()


def test_bandit_tells_what_was_done_and_pays_by_chance():
    environment = tasks.bandit(levers=3, pulls=4)
    step = jax.jit(environment.step)
    state, observation = environment.reset(KEY)
    np.testing.assert_array_equal(observation, [0, 0, 0, 0, 1])
    state = state._replace(chances=jnp.array([1.0, 0.0, 0.5]))
    for action, reward, left in ((0, 1, 3), (1, 0, 2), (0, 1, 1), (0, 1, 0)):
        state, observation, paid, done = step(KEY, state, jnp.int32(action))
        np.testing.assert_array_equal(observation, [*(np.arange(3) == action), reward, left / 4])
        assert (float(paid), bool(done)) == (reward, left == 0)
    paid = jax.vmap(lambda key: environment.step(key, state, jnp.int32(2))[2])(jax.random.split(KEY, 2000))
    assert stats.binomtest(int(paid.sum()), 2000, 0.5).pvalue > 1e-3
    chances = jax.vmap(lambda key: environment.reset(key)[0].chances)(jax.random.split(KEY, 1000))
    assert stats.kstest(np.ravel(chances), "uniform").pvalue > 1e-3


CANNOT = r"^\S+ cannot be stepped by gymnax \S+ and JAX \S+ \(.+\): pip install 'gymnax>=1.0.1' 'jax<0.12'\.$"
# gymnax 0.0.9 writes numbers into arrays of truth values, and asks for integers of 64 bits: JAX warns of both.
MINATAR = "Breakout-MinAtar", "Freeway-MinAtar"
OLD_GYMNAX = pytest.mark.filterwarnings(
    "ignore:scatter inputs:FutureWarning", "ignore:Explicitly requested:UserWarning"
)


@OLD_GYMNAX
@pytest.mark.parametrize(
    "name", ["CartPole-v1", "Pendulum-v1", *(pytest.param(name, marks=pytest.mark.slow) for name in MINATAR)]
)
def test_gymnax_is_stepped_as_it_steps_itself(name):
    gymnax = pytest.importorskip("gymnax")
    environment = tasks.from_gymnax(name)
    made, params = gymnax.make(name)
    actions = environment.actions

    def choose(key):
        return jax.random.uniform(key, (1,)) if isinstance(actions, Box) else jax.random.randint(key, (), 0, actions)

    state = jax.jit(environment.reset)(KEY)[0]
    with jax.numpy_dtype_promotion("standard"):
        theirs = jax.jit(made.reset_env)(KEY, params)[1]
    step, their_step = environment.step, made.step_env  # not compiled, so that both round in the same order
    for key in jax.random.split(KEY, 30):
        state, *own = step(key, state, choose(key))
        with jax.numpy_dtype_promotion("standard"):
            observation, theirs, reward, over, _ = their_step(key, theirs, choose(key), params)
        chex.assert_trees_all_close(own, [observation.astype(jnp.float32), reward.reshape(()), over], rtol=1e-5)
    assert own[0].shape == environment.observation
    assert environment.max_steps == params.max_steps_in_episode


def test_own_cartpole_is_that_of_gymnax():
    pytest.importorskip("gymnax")
    environments = tasks.cartpole(), tasks.from_gymnax("CartPole-v1")
    assert environments[0][2:] == environments[1][2:]
    scores = [
        jax.jit(task.evaluate)(KEY, task.init(KEY))
        for task in (tasks.control(environment, nn.MLP((2,)), episodes=16) for environment in environments)
    ]
    chex.assert_trees_all_equal(*scores)


def wrong_step(key, state, action):
    del key, action
    return state.astype(jnp.float32), jnp.zeros(2), jnp.float32(0), jnp.bool_(False)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"episodes": 0}, "episodes is 0, and must be 1 or more"),
        ({"max_steps": 0}, "max_steps is 0"),
        ({"block": 0}, "block is 0"),
        ({"validation_episodes": 0}, "validation_episodes is 0"),
        ({"network": nn.MLP((5,))}, r"network makes outputs \(1, 5\) of one observation, and the environment needs 3"),
        ({"network": STANDING, "act": tasks.drawn}, "act is for a network: a Policy acts by itself"),
        ({"normalise": tasks.Statistics(jnp.zeros(3), jnp.ones(3))}, r"normalise has shapes \(\(3,\), \(3,\)\)"),
        ({"environment": ladder()._replace(observation=(4,))}, r"makes an observation \(2,\), and \(4,\) is what"),
        (
            {"environment": ladder()._replace(reset=lambda key: (jnp.int32(0), jnp.zeros(2)), step=wrong_step)},
            r"step makes a state of other types than reset: float32\[\], not int32\[\]",
        ),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(jaxga.InputError, match=message):
        tasks.control(**{"environment": ladder(), "network": nn.MLP((3,)), **settings})


def test_unknown_names_are_answered_with_near_ones():
    pytest.importorskip("gymnax")
    with pytest.raises(jaxga.InputError, match="no environment 'Brekout': did you mean Breakout-MinAtar"):
        tasks.from_gymnax("Brekout")
    with pytest.raises(jaxga.InputError, match=r"Pendulum-v1 has no settings \['weight'\]: it has dt, g, l, m"):
        tasks.from_gymnax("Pendulum-v1", weight=3)


@OLD_GYMNAX
def test_environments_of_gymnax_keep_their_types():
    """In every version of gymnax: those of a state, and of what a step shows, pays and ends."""
    gymnax = pytest.importorskip("gymnax")
    names = set(gymnax.registered_envs) - {"MNISTBandit-bsuite"}  # it downloads its images
    if version("gymnax") == "0.0.9":
        names -= {"SimpleBandit-bsuite"}
        with pytest.raises(jaxga.InputError, match=CANNOT):  # that version mixes up its state
            tasks.from_gymnax("SimpleBandit-bsuite")
    for name in names:
        environment = tasks.from_gymnax(name)
        state, seen = jax.eval_shape(environment.reset, KEY)
        action = jnp.zeros(len(environment.actions.low)) if isinstance(environment.actions, Box) else jnp.int32(0)
        after, *of_step = jax.eval_shape(environment.step, KEY, state, action)
        chex.assert_trees_all_equal_shapes_and_dtypes(state, after)
        chex.assert_trees_all_equal_shapes_and_dtypes(of_step, [seen, jnp.float32(0), jnp.bool_(False)])
        assert (seen.shape, seen.dtype) == (environment.observation, jnp.float32)


def test_an_unknown_gymnax_is_refused_in_a_sentence(monkeypatch):
    """One whose steps are told in other words than both of today."""
    gymnax = pytest.importorskip("gymnax")
    environment = type(gymnax.make("CartPole-v1")[0])
    step = environment.step_env
    monkeypatch.setattr(environment, "step_env", lambda *them: (*step(*them), "one more"))
    with pytest.raises(
        jaxga.InputError, match=r"^CartPole-v1 cannot be stepped by gymnax .+: pip install 'gymnax>=1.0.1'"
    ):
        tasks.from_gymnax("CartPole-v1")


def test_without_gymnax_the_pip_line_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnax", None)
    with pytest.raises(jaxga.InputError, match=r"pip install 'jaxga\[control\]'"):
        tasks.from_gymnax("Pendulum-v1")


def test_golden_run():
    """Low-rank children of one parent solve CartPole within a few generations."""
    task = tasks.control(tasks.cartpole(), nn.MLP((8, 2)), episodes=4, key=jaxga.common, validation_episodes=50)
    algorithm = jaxga.ga(task.init, variation.low_rank(variation.relative(0.5)), parents=1, children=64)
    result = jaxga.run(algorithm, task, 0, generations=30, stop=jaxga.stop.target(475, "best_validation"))
    assert result.stopped_because == "target reached"
    assert result.history["steps"][-1] == 4 * result.history["episode_steps"][-1] > 1500
