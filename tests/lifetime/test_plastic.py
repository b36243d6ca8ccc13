"""Plastic weights and evolved rewards, against loops by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import data, lifetime, nn, tasks

KEY = jax.random.key(3)


@pytest.mark.parametrize(("per", "shape"), [("connection", (3, 2)), ("neuron", (1, 2)), ("layer", (1, 1))])
def test_the_hebbian_rule_is_the_published_one(per, shape):
    rule = lifetime.hebbian(per)
    genes = rule.init(KEY, (3, 2))
    assert {gene.shape for gene in genes.values()} == {shape}
    rate, a, b, c, d = (np.broadcast_to(genes[name], (3, 2)) for name in ("rate", "A", "B", "C", "D"))
    before, after = np.array([1.0, -2.0, 0.5]), np.array([0.3, 2.0])
    expected = [
        [rate[i, j] * (a[i, j] * before[i] * after[j] + b[i, j] * before[i] + c[i, j] * after[j] + d[i, j])
         for j in range(2)] for i in range(3)
    ]  # fmt: skip
    found = rule.change(genes, jnp.zeros((3, 2)), jnp.asarray(before, jnp.float32), jnp.asarray(after, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_network_as_a_rule_sees_four_numbers_of_each_connection():
    rule = lifetime.change_by_network(5, rate=0.2)
    genes = rule.init(KEY, (3, 2))
    weights, before, after = jax.random.normal(KEY, (3, 2)), jnp.array([1.0, -2.0, 0.5]), jnp.array([0.3, 2.0])
    found = rule.change(genes, weights, before, after)
    for i in range(3):
        for j in range(2):
            seen = jnp.stack([before[i], weights[i, j], after[j], before.mean()])
            one = 0.2 * jnp.tanh(jnp.tanh(seen @ genes["first"] + genes["bias"]) @ genes["last"])
            np.testing.assert_allclose(found[i, j], one, rtol=1e-4)
    assert rule.change(genes, jnp.zeros((7, 4)), jnp.zeros(7), jnp.zeros(4)).shape == (7, 4)


@pytest.mark.parametrize("start", ["random", "evolved"])
def test_weights_of_a_life_begin_at_random_or_are_inherited(start):
    network = lifetime.plastic((3, 4, 2), start=start)
    genes = network.init(KEY)
    one, other = (network.start(genes, jax.random.key(seed)) for seed in (1, 2))
    assert bool((one[0] == other[0]).all()) == (start == "evolved")
    assert ("weights" in genes) == (start == "evolved")
    assert max(float(jnp.abs(layer).max()) for layer in one) <= 0.1


@pytest.mark.parametrize("sizes", [(3, 2), (3, 4, 2)])
def test_a_bias_is_one_more_input(sizes):
    network = lifetime.plastic(sizes, bias=True, modulated=True)
    genes = network.init(KEY)
    weights = network.start(genes, KEY)
    plain = lifetime.plastic((4, *sizes[1:]), modulated=True)
    for found, due in zip(
        network.forward(weights, jnp.arange(3.0)), plain.forward(weights, jnp.array([0.0, 1.0, 2.0, 1.0])), strict=True
    ):
        np.testing.assert_array_equal(found, due)
    assert (network.forward(weights, jnp.zeros(3))[-1] != 0).all()
    assert (lifetime.plastic(sizes).forward((weights[0][:3], *weights[1:]), jnp.zeros(3))[-1] == 0).all()


def test_weights_are_bounded_where_asked():
    for bounded in (True, False):
        network = lifetime.plastic((3, 2), bounded=bounded)
        genes = jax.tree.map(lambda gene: 100 * gene, network.init(KEY))
        weights = network.start(genes, KEY)
        changed = network.change(genes, weights, network.forward(weights, jnp.ones(3)))[0]
        assert bool(jnp.abs(changed).max() > 1.001) != bounded


def test_an_episode_is_that_of_a_loop_by_hand():
    """The weights change after each step, each episode has its own, and the genes stay."""
    maze = tasks.t_maze(trips=3)
    network = lifetime.plastic((6, 5, 3))
    task = tasks.control(maze, network.policy(maze), episodes=2)
    genes = jax.tree.map(lambda gene: 3 * gene, task.init(jax.random.key(5)))
    found = jax.jit(task.score)(KEY, genes).fitness
    returns = []
    for key in jax.random.split(KEY, 2):
        state, observation = maze.reset(jax.random.fold_in(key, 0))
        weights, total = network.start(genes, jax.random.fold_in(key, 1)), 0.0
        for number in range(1, maze.max_steps + 1):
            activations = network.forward(weights, observation)
            weights = network.change(genes, weights, activations)
            action = jnp.argmax(activations[-1])
            state, observation, reward, done = maze.step(jax.random.fold_in(key, 2 * number + 1), state, action)
            total += float(reward)
            if done:
                break
        returns.append(total)
    np.testing.assert_allclose(found, np.mean(returns), rtol=1e-5)


def test_the_rule_a_alone_is_gradient_descent_on_the_last_layer():
    """Taught by the answer minus the softmax, before * after is the gradient of softmax regression."""
    images, batches, batch = data.digits(), 6, 8
    network = lifetime.plastic((64, 10), lifetime.hebbian("layer"), scale=0.0, bounded=False)
    task = lifetime.taught(network, lifetime.relabelled(images), batches=batches, batch=batch, tested=64)
    genes = jax.tree.map(jnp.zeros_like, task.init(KEY))
    genes["rule"][0].update(rate=jnp.full((1, 1), 0.5), A=jnp.ones((1, 1)))
    key_life, _, key_shown, key_test = jax.random.split(jax.random.fold_in(KEY, 0), 4)
    draw, weights = lifetime.relabelled(images)(key_life), np.zeros((64, 10))
    for number in range(batches):
        inputs, labels = draw(jax.random.fold_in(key_shown, number), batch)
        x = np.asarray(inputs).reshape(batch, 64)
        p = np.exp(x @ weights)
        p /= p.sum(axis=1, keepdims=True)
        weights += 0.5 * x.T @ (np.eye(10)[np.asarray(labels)] - p) / batch
    inputs, labels = draw(key_test, 64)
    right = (np.asarray(inputs).reshape(64, 64) @ weights).argmax(axis=1) == np.asarray(labels)
    score = task.score(KEY, genes)
    np.testing.assert_allclose(score.metrics["accuracy"], right.mean(), rtol=1e-5)
    assert score.metrics["accuracy"] > 0.3


def test_labels_change_places_and_nothing_inherited_knows_them():
    images = data.digits()
    lives = lifetime.permuted_labels(nn.MLP((10,)), images, tested=1000)
    params = nn.MLP((10,)).init(KEY, jnp.asarray(images.train_images[:1]))
    found = [float(lives(jax.random.key(life)).score(KEY, params).fitness) for life in range(30)]
    assert abs(np.mean(found) - 0.1) < 0.04
    draw = lifetime.relabelled(images)(KEY)
    pixels, labels = draw(jax.random.key(1), 500)
    for old in range(3):  # one digit has one label
        where = [np.flatnonzero((images.train_images == pixel).all(axis=(1, 2, 3)))[0] for pixel in pixels[:60]]
        new = np.asarray(labels[:60])[np.asarray(images.train_labels)[where] == old]
        assert len(set(new.tolist())) == 1


@pytest.mark.slow
def test_a_learner_by_the_rewards_of_the_environment_learns():
    rooms = tasks.four_rooms(5, max_steps=20)
    short, long = (lifetime.rewarded(rooms, reward=None, steps=steps, episodes=32, count=4) for steps in (1, 600))
    genes = short.init(KEY)
    assert jax.tree.leaves(genes) == []
    assert jax.jit(long.score)(KEY, genes).fitness > jax.jit(short.score)(KEY, genes).fitness + 0.5


def test_a_reward_that_says_nothing_teaches_nothing_and_one_for_the_goal_does():
    """The evolved reward alone is seen: a constant one leaves the learner where it was."""
    rooms = tasks.four_rooms(5, max_steps=20)
    task = lifetime.rewarded(rooms, reward=nn.MLP((1, 1)), steps=600, episodes=32, count=4)
    genes = jax.tree.map(jnp.zeros_like, task.init(KEY))
    nothing = jax.jit(task.score)(KEY, genes).fitness
    first, last = genes.reward["params"]["Dense_0"], genes.reward["params"]["Dense_1"]
    assert first["kernel"].shape == (2 * 10 + 4, 1)
    # 10 features before, 4 actions, 10 features after: 1 where both the last row and the last column are reached.
    first = {"kernel": first["kernel"].at[10 + 4 + 4].set(1.0).at[10 + 4 + 9].set(1.0), "bias": jnp.array([-1.0])}
    last = last | {"kernel": jnp.ones((1, 1))}
    taught = genes._replace(reward={"params": {"Dense_0": first, "Dense_1": last}})
    assert jax.jit(task.score)(KEY, taught).fitness > nothing + 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lifetime.hebbian("unit"), "per is 'unit'"),
        (lambda: lifetime.plastic((4,)), "sizes is"),
        (lambda: lifetime.plastic((4, 0)), r"sizes\[1\] is 0"),
        (lambda: lifetime.plastic((4, 2), start="zero"), "start is 'zero'"),
        (lambda: lifetime.change_by_network(0), "hidden is 0"),
        (lambda: lifetime.rewarded(tasks.point(), reward=None), "continuous actions"),
        (lambda: lifetime.rewarded(tasks.four_rooms(5), reward=None, exploration=2.0), "exploration is 2.0"),
        (lambda: lifetime.rewarded(tasks.four_rooms(5), reward=None, steps=0), "steps is 0"),
        (lambda: tasks.four_rooms(6), "size is 6, and must be odd"),
        (lambda: tasks.four_rooms(5, goal=(2, 2)), "goal is"),
        (lambda: tasks.point((1.0,)), "goal has shape"),
    ],
)
def test_refuses_what_cannot_work(make, message):
    with pytest.raises(jaxga.InputError, match=message):
        make()
