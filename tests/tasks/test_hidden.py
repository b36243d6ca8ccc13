"""Environments in which something is hidden, by their rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxga import tasks

KEY = jax.random.key(0)


def test_a_point_that_knows_its_goal_comes_close_to_the_oracle_of_the_paper():
    """Stored returns of the oracle of Finn et al. (2017) have a mean of -2.29 over 40 goals."""

    def play(key):
        goal = jax.random.uniform(key, (2,), jnp.float32, -0.5, 0.5)
        environment = tasks.point(goal)
        state, _ = environment.reset(key)

        def step(carry, _):
            state, over, total = carry
            state, _, reward, done = environment.step(key, state, goal - state.place)
            return (state, over | done, total + jnp.where(over, 0, reward)), None

        (_, over, total), _ = jax.lax.scan(step, (state, jnp.bool_(False), jnp.float32(0)), None, length=100)
        return over, total

    over, total = jax.vmap(play)(jax.random.split(KEY, 1000))
    assert over.all()
    assert -2.29 < total.mean() < -0.3


def test_a_point_turns_all_of_its_steps_by_one_angle():
    environment = tasks.point((0.3, 0.4), turned=True, tells=True)
    state, observation = environment.reset(KEY)
    np.testing.assert_allclose(observation, [0, 0, 0.3, 0.4, 0])
    state, observation, reward, _ = environment.step(KEY, state, jnp.array([0.1, 0.0]))
    np.testing.assert_allclose(jnp.linalg.norm(state.place), 0.1, rtol=1e-5)
    np.testing.assert_allclose(state.place, 0.1 * jnp.array([jnp.cos(state.turned), jnp.sin(state.turned)]), rtol=1e-5)
    np.testing.assert_allclose(observation[-1], reward)
    np.testing.assert_allclose(reward, -np.linalg.norm(np.array([0.3, 0.4]) - np.asarray(state.place)), rtol=1e-5)
    later = environment.reset(jax.random.key(1))[0]
    assert later.turned != state.turned


def test_goals_are_drawn_where_none_is_given():
    goals = jax.vmap(lambda key: tasks.point().reset(key)[0].goal)(jax.random.split(KEY, 500))
    assert -0.5 <= goals.min() < -0.48
    assert 0.48 < goals.max() <= 0.5


@pytest.mark.parametrize("turns", [1, 2])
def test_the_best_end_of_a_maze_pays_and_moves_once(turns):
    """Whoever goes to every end in turn sees one pay at first, and another one later."""
    maze = tasks.t_maze(turns, trips=40)
    state, observation = maze.reset(KEY)
    np.testing.assert_array_equal(observation, [1, 0, 0, 0, *[0] * turns])
    first, switch = int(state.best), int(state.switch)
    assert 14 <= switch <= 26
    for trip in range(40):
        end, best = trip % 2**turns, first if trip < switch else int(state.later)
        for turn in range(turns):
            state, observation, reward, _ = maze.step(KEY, state, jnp.int32(1))
            np.testing.assert_array_equal(observation, [0, 0, 1, 0, *[0] * turns])
            right = end >> (turns - 1 - turn) & 1
            state, observation, reward, done = maze.step(KEY, state, jnp.int32(2 * right))
        np.testing.assert_allclose(reward, 1.0 if end == best else 0.2)
        took = [2 * (end >> (turns - 1 - turn) & 1) - 1 for turn in range(turns)]
        np.testing.assert_allclose(observation, [1, 0, 0, reward, *took])
        assert bool(done) == (trip == 39)
    assert first != int(state.later)


def test_a_crash_costs_and_ends_the_trip():
    maze = tasks.t_maze(trips=5)
    for action, then in ((0, None), (1, 1)):
        state, _ = maze.reset(KEY)
        state, _, reward, _ = maze.step(KEY, state, jnp.int32(action))
        if then is not None:
            state, _, reward, _ = maze.step(KEY, state, jnp.int32(then))
        np.testing.assert_allclose(reward, -0.4)
        assert (int(state.trip), int(state.step)) == (1, 0)


def test_rooms_have_doors_and_walls_and_a_goal():
    rooms = tasks.four_rooms(5)
    starts = jax.vmap(lambda key: rooms.reset(key)[0].place)(jax.random.split(KEY, 600))
    cells = {tuple(cell) for cell in np.asarray(starts).tolist()}
    assert len(cells) == 16 + 4 - 1  # four rooms of 2 x 2, four doors, less the goal
    assert (4, 4) not in cells
    assert (2, 2) not in cells

    def go(place, action):
        state = rooms.reset(KEY)[0]._replace(place=jnp.array(place, jnp.int32))
        state, observation, reward, done = rooms.step(KEY, state, jnp.int32(action))
        assert observation.tolist() == np.eye(5)[np.asarray(state.place)].reshape(-1).tolist()
        return state.place.tolist(), float(reward), bool(done)

    assert go((0, 0), 0) == ([0, 0], 0.0, False)  # the outer wall
    assert go((1, 0), 2) == ([1, 0], 0.0, False)  # the middle wall
    assert go((1, 1), 2) == ([2, 1], 0.0, False)  # the door in it
    assert go((3, 4), 2) == ([4, 4], 1.0, True)
    assert {cell for cell in cells if 2 in cell} == {(2, 1), (2, 3), (1, 2), (3, 2)}
