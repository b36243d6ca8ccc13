"""The inner policy gradient against an expectation that is known, and against a loop by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen

import jaxga
from jaxga import lifetime, nn, tasks


def one_pull(rewards):
    """A bandit of one step, whose lever pays what it says."""
    pays = jnp.asarray(rewards, jnp.float32)
    seen = jnp.ones(1)
    return tasks.Environment(
        lambda key: (jnp.int32(0), seen),
        lambda key, state, action: (state, seen, pays[action], jnp.bool_(True)),
        (1,), len(rewards), 1,
    )  # fmt: skip


class Logits(linen.Module):
    """The same outputs whatever is seen."""

    count: int

    @linen.compact
    def __call__(self, x):
        logits = self.param("logits", linen.initializers.zeros, (self.count,))
        return jnp.zeros((len(x), 1)) + logits


def test_the_gradient_is_that_of_the_expected_reward():
    """Of a softmax over levers it is p (r - mean r), here in standard deviations of the reward."""
    rewards, logits = np.array([1.0, 0.0, 3.0]), np.array([0.2, -0.5, 0.1])
    task = lifetime.policy_gradient(one_pull(rewards), Logits(3), episodes=20_000)
    params = {"network": {"params": {"logits": jnp.asarray(logits, jnp.float32)}}, "distribution": ()}
    found = jax.grad(task.loss, argnums=1)(jax.random.key(0), params)["network"]["params"]["logits"]
    p = np.exp(logits) / np.exp(logits).sum()
    mean = p @ rewards
    expected = p * (rewards - mean) / np.sqrt(p @ (rewards - mean) ** 2)
    np.testing.assert_allclose(-found, expected, atol=0.03)


def test_the_gradient_of_a_normal_policy_points_to_the_better_action():
    """The reward rises with the action, so its middle rises; for the best middle the deviation shrinks."""

    def steps(pays):
        seen = jnp.ones(1)
        environment = tasks.Environment(
            lambda key: (jnp.int32(0), seen),
            lambda key, state, action: (state, seen, pays(action[0]), jnp.bool_(True)),
            (1,), tasks.Box((-1.0,), (1.0,)), 1,
        )  # fmt: skip
        task = lifetime.policy_gradient(environment, Logits(1), episodes=5000, deviation=0.5)
        found = jax.grad(task.loss, argnums=1)(jax.random.key(0), task.init(jax.random.key(1)))
        return -found["network"]["params"]["logits"][0], -found["distribution"][0]

    middle, _ = steps(lambda action: action)
    np.testing.assert_allclose(middle, 1 / 0.5, rtol=0.05)  # d(mean)/d(middle) / std = 1 / 0.5
    middle, deviation = steps(lambda action: -(action**2))
    assert abs(middle) < 0.1
    assert deviation < -1


def test_trajectories_are_those_of_a_loop_by_hand():
    environment = tasks.cartpole()
    act = lambda keys, observations: (observations[:, 2] > 0).astype(jnp.int32)  # noqa: E731
    keys = jax.random.split(jax.random.key(2), 3)
    found = lifetime.trajectories(environment, act, keys, 80)
    for episode, key in enumerate(keys):
        state, observation = environment.reset(jax.random.fold_in(key, 0))
        total, going = 0.0, True
        for number in range(80):
            if going:
                np.testing.assert_allclose(found.observations[episode, number], observation, atol=1e-5)
            assert bool(found.playing[episode, number]) == going
            state, observation, reward, done = environment.step(key, state, act(None, observation[None])[0])
            total += float(reward) * going
            going &= not bool(done)
        assert float(found.returns[episode]) == total
    assert not found.playing[:, -1].all()


def test_what_comes_after_the_end_does_not_count():
    """An environment that ends early, and whose state is NaN from then on."""
    environment = tasks.Environment(
        lambda key: (jnp.int32(0), jnp.ones(1)),
        lambda key, state, action: (
            state + 1, jnp.where(state < 2, jnp.ones(1), jnp.nan), jnp.where(state < 3, action[0], jnp.nan), state >= 2
        ),
        (1,), tasks.Box((-1.0,), (1.0,)), 3,
    )  # fmt: skip
    found = {}
    for steps in (3, 9):
        task = lifetime.policy_gradient(environment, Logits(1), episodes=50, steps=steps)
        params = task.init(jax.random.key(1))
        found[steps] = jax.value_and_grad(task.loss, argnums=1)(jax.random.key(0), params)
    chex.assert_tree_all_finite(found[9])
    chex.assert_trees_all_close(found[3], found[9], rtol=1e-4)


def test_rewards_to_go_are_discounted_sums():
    rewards = jnp.array([[1.0, 2.0, 3.0]])
    seen = lifetime.Trajectory(rewards, rewards, rewards, rewards > 0)
    np.testing.assert_allclose(seen.to_go(0.5), [[1 + 0.5 * (2 + 0.5 * 3), 2 + 0.5 * 3, 3]])


@pytest.mark.slow
def test_steps_within_a_life_find_the_goal():
    """From one start, goals in opposite directions are both come nearer to."""
    lives = lifetime.point_goals(nn.MLP((16, 2)), episodes=20, steps=30)
    task = lives(jax.random.key(0))
    curve = lifetime.learning_curve(lives, optax.adam(0.03), 30, task.init(jax.random.key(1)), fresh=True, count=4)
    assert (np.asarray(curve[:, -1]) > np.asarray(curve[:, 0])).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"episodes": 0}, "episodes is 0"), ({"discount": 1.5}, "discount is 1.5"), ({"steps": 0}, "steps is 0"),
     ({"deviation": -1.0}, "deviation is -1.0"), ({"deviation": 0.0}, "deviation is 0")],
)  # fmt: skip
def test_refuses_what_cannot_work(arguments, message):
    with pytest.raises(jaxga.InputError, match=message):
        lifetime.policy_gradient(tasks.point((0.1, 0.1)), nn.MLP((2,)), **arguments)
