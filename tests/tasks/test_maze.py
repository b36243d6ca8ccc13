"""The mazes against a plain program, and what they are known for."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import nn, observe, tasks
from jaxga.tasks.maze import FINDERS


def crossing(place, degrees, wall):
    """How far a ray goes to a wall, by Cramer's rule in double precision; infinity where it does not meet it."""
    x, y, to_x, to_y = wall
    ray = np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))])
    system = np.array([ray, [x - to_x, y - to_y]]).T
    if abs(np.linalg.det(system)) < 1e-12:
        return math.inf
    far, part = np.linalg.solve(system, np.array([x, y]) - place)
    return far if far >= 0 and 0 <= part <= 1 else math.inf


def near(place, wall):
    """The distance to the nearest point of a wall."""
    first, last = np.array(wall[:2], float), np.array(wall[2:], float)
    along = last - first
    part = np.clip((place - first) @ along / (along @ along), 0, 1)
    return np.linalg.norm(first + part * along - place)


class Plain:
    """A robot in a maze, as the paper and the program of 2008 describe it."""

    def __init__(self, maze):
        self.maze, self.place, self.heading, self.speed, self.spin = maze, np.array(maze.start), maze.heading, 0.0, 0.0

    def sense(self):
        finders = [
            min(min(crossing(self.place, self.heading + degrees, wall) for wall in self.maze.walls) / 100, 1)
            for degrees in FINDERS
        ]
        to_goal = np.array(self.maze.goal) - self.place
        bearing = (math.degrees(math.atan2(to_goal[1], to_goal[0])) - self.heading) % 360
        quarters = [(315, 405), (45, 135), (135, 225), (225, 315)]
        radars = [any(low <= bearing + turn < high for turn in (0, 360)) for low, high in quarters]
        return np.array([*finders, *map(float, radars), 1.0])

    def step(self, action):
        self.spin = min(max(self.spin + action[0] - 0.5, -3), 3)
        self.speed = min(max(self.speed + action[1] - 0.5, -3), 3)
        angle = math.radians(self.heading)
        ahead = self.place + self.speed * np.array([math.cos(angle), math.sin(angle)])
        if min(near(ahead, wall) for wall in self.maze.walls) >= 8:
            self.place = ahead
        self.heading = (self.heading + self.spin) % 360
        return float(np.linalg.norm(self.place - np.array(self.maze.goal)))


@pytest.mark.parametrize("maze", [tasks.MEDIUM_MAZE, tasks.HARD_MAZE], ids=["medium", "hard"])
def test_a_robot_goes_and_sees_as_the_plain_one_does(maze):
    environment, plain = tasks.maze(maze), Plain(maze)
    step = jax.jit(environment.step)
    state, observation = environment.reset(jax.random.key(0))
    actions = np.random.default_rng(3).uniform(0, 1, (60, 2)).astype(np.float32)
    actions[:, 1] = np.clip(actions[:, 1] + 0.15, 0, 1)  # rather forward, until it meets a wall
    total = 0.0
    for action in actions:
        np.testing.assert_allclose(observation, plain.sense(), atol=2e-3)
        away = plain.step(action)
        state, observation, reward, done = step(jax.random.key(0), state, jnp.asarray(action))
        total += float(reward)
        np.testing.assert_allclose(state.place, plain.place, atol=1e-2)
        assert total == pytest.approx(300 - away, abs=1e-2)  # the return so far
        assert bool(done) == (away < 5)
    assert np.linalg.norm(plain.place - np.array(maze.start)) > 20


def test_at_the_goal_an_episode_is_over_and_solved():
    maze = tasks.HARD_MAZE._replace(start=(31.0, 32.0), heading=270.0)  # north of the goal, which is ahead
    environment = tasks.maze(maze)
    state, observation = environment.reset(jax.random.key(0))
    assert observation[6:10].tolist() == [1, 0, 0, 0]
    for _ in range(20):
        state, _, _, done = environment.step(jax.random.key(0), state, jnp.array([0.5, 1.0]))
        if done:
            break
    assert bool(done)
    assert float(state.solved) == 1
    assert float(jnp.linalg.norm(state.place - jnp.array(maze.goal))) < 5


def test_as_a_task_it_tells_where_a_robot_came_to():
    seen = {"end": observe.last(lambda state, _: state.place), "solved": observe.last(lambda state, _: state.solved)}
    task = tasks.control(tasks.maze(), nn.MLP((2,)), max_steps=30, observe=seen)
    score = jax.jit(task.evaluate)(jax.random.key(0), task.init(jax.random.key(1)))
    assert score.metrics["end"].shape == (2,)
    away = jnp.linalg.norm(score.metrics["end"] - jnp.array(tasks.HARD_MAZE.goal))
    assert float(score.fitness) == pytest.approx(300 - float(away), abs=1e-2)
    assert int(score.metrics["steps"]) == 30


def test_walls_that_are_none_are_named():
    with pytest.raises(jaxga.InputError, match="pass a Maze, such as tasks"):
        tasks.maze("hard")
