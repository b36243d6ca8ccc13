import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import tasks

KEY = jax.random.key(0)


def test_the_treasure_is_at_the_end_of_one_way_of_all():
    """Every sequence of actions is tried; which action goes right is found out by where it leads."""
    sea = tasks.deep_sea(4, mapping=3)
    ways = jnp.array(list(itertools.product((0, 1), repeat=4)), jnp.int32)

    def dive(actions):
        def step(state, action):
            state, observation, reward, done = sea.step(KEY, state, action)
            return state, (observation.argmax(), reward, done)

        return jax.lax.scan(step, sea.reset(KEY)[0], actions)[1]

    places, rewards, done = (np.asarray(part) for part in jax.jit(jax.vmap(dive))(ways))
    columns = places % 5
    assert (places // 5 == np.arange(1, 5)).all()
    before = np.concatenate([np.zeros((16, 1), int), columns[:, :-1]], axis=1)
    went_right = columns > before
    np.testing.assert_array_equal(columns, np.where(went_right, before + 1, np.maximum(before - 1, 0)))
    np.testing.assert_allclose(rewards.sum(axis=1), (columns[:, -1] == 4) - 0.01 * went_right.mean(axis=1), atol=1e-6)
    assert (columns[:, -1] == 4).sum() == 1
    assert rewards.sum(axis=1).max() == pytest.approx(0.99)
    assert done.tolist() == [[False, False, False, True]] * 16


def test_another_mapping_is_another_sea():
    def first(mapping):
        sea = tasks.deep_sea(8, mapping)
        state, ways = sea.reset(KEY)[0], []
        for _ in range(8):
            state, observation, *_ = sea.step(KEY, state, jnp.int32(1))
            ways.append(int(observation.argmax()))
        return ways

    assert first(1) == first(1)
    assert len({tuple(first(mapping)) for mapping in range(5)}) > 1


def test_bits_are_flipped_until_they_are_those_of_the_target():
    flips = tasks.bit_flip(6)
    state, observation = flips.reset(KEY)
    assert observation.shape == flips.observation == (12,)
    assert set(observation.tolist()) <= {0.0, 1.0}
    differing = np.flatnonzero(np.asarray(observation[:6] != observation[6:]))
    for number, bit in enumerate(differing, 1):
        state, observation, reward, done = flips.step(KEY, state, jnp.int32(bit))
        assert (float(reward), bool(done)) == ((0.0, True) if number == len(differing) else (-1.0, False))
    assert len({tuple(flips.reset(jax.random.key(seed))[1].tolist()) for seed in range(5)}) == 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tasks.deep_sea(0), "size is 0"),
        (lambda: tasks.deep_sea(5, mapping=-1), "mapping is -1"),
        (lambda: tasks.bit_flip(2.5), "bits is 2.5, and must be a whole number"),
        (lambda: tasks.bit_flip(3, max_steps=0), "max_steps is 0"),
    ],
)
def test_refuses_what_cannot_work(make, message):
    with pytest.raises(jaxga.InputError, match=message):
        make()
