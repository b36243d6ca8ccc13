"""The deceptive mazes of Lehman and Stanley (2011), as environments that are JAX programs."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Key, require, require_whole
from jaxga.tasks.control import Action, Box, Environment

RADIUS, NEAR = 8.0, 5.0  # radius of the robot; distance from the goal below which it counts as reached
RANGE = 100.0  # largest distance that a range finder measures
MOST_SPEED = 3.0  # limit of the speed in units per step, and of the spin in degrees per step
FINDERS = (-90.0, -45.0, 0.0, 45.0, 90.0, -180.0)  # degrees from the heading
RADARS = (315.0, 45.0, 135.0, 225.0)  # where each quarter begins, degrees from the heading
WORTH = 300.0  # the return is this minus the final distance from the goal


class Maze(NamedTuple):
    """A maze with W walls."""

    walls: tuple[tuple[float, float, float, float], ...]  # [W, 4], x and y of both ends of each wall
    start: tuple[float, float]  # [2], x and y of the robot at the start
    heading: float  # heading of the robot at the start, in degrees
    goal: tuple[float, float]  # [2], x and y of the goal


MEDIUM_MAZE = Maze(
    (
        (293, 7, 289, 130), (289, 130, 6, 134), (6, 134, 8, 5), (8, 5, 292, 7), (241, 130, 58, 65), (114, 7, 73, 42),
        (130, 91, 107, 46), (196, 8, 139, 51), (219, 122, 182, 63), (267, 9, 214, 63), (271, 129, 237, 88),
    ),
    (30.0, 22.0), 0.0, (270.0, 100.0),
)  # fmt: skip
"""The medium maze: for a part of the way, the path leads away from the goal."""

HARD_MAZE = Maze(
    (
        (41, 5, 3, 8), (3, 8, 4, 49), (4, 49, 57, 53), (4, 49, 7, 202), (7, 202, 195, 198), (195, 198, 186, 8),
        (186, 8, 39, 5), (56, 54, 56, 157), (57, 106, 158, 162), (77, 201, 108, 164), (6, 80, 33, 121),
        (192, 146, 87, 91), (56, 55, 133, 30),
    ),
    (36.0, 184.0), 0.0, (31.0, 20.0),
)  # fmt: skip
"""The hard maze: a robot that moves straight towards the goal ends in a dead end."""


class Robot(NamedTuple):
    """The state of one episode."""

    place: jax.Array  # [2] position of the robot
    heading: jax.Array  # [] direction of movement in degrees
    speed: jax.Array  # [] distance per step
    spin: jax.Array  # [] change of the heading, in degrees per step
    paid: jax.Array  # [] the sum of rewards so far
    solved: jax.Array  # [] 1 if the goal was reached, else 0


def maze(walls: Maze = HARD_MAZE, max_steps: int = 400) -> Environment:
    """Steer a round robot through a maze. The return is 300 minus the final distance from the goal.

    Observations ``[11]``: six range finders at -90, -45, 0, 45, 90 and 180 degrees, each the distance to the nearest
    wall from 0 to 1, where 1 means 100 or more; four radars, 1 for the quarter in which the goal lies (ahead, right,
    behind, left) and else 0; a constant 1.

    Actions ``[2]``, each from 0 to 1. The first minus 1/2 is added to the spin, the second minus 1/2 to the speed.
    Both are clipped to -3 to 3. The robot has a radius of 8, and does not move in a step in which it would touch a
    wall. An episode ends when the distance to the goal is less than 5.

    Geometry and dynamics are those of the program of 2008. An error in that program overwrites the backward range
    finder with a radar and leaves the last input unset. Here all eleven inputs are those that the paper describes.

    ``state.place`` is the position of the robot. For a descriptor of the final position, use
    ``control(..., observe={"end": observe.last(lambda state, _: state.place)})``.

    Args:
      walls: the maze, by default `HARD_MAZE`.
      max_steps: most steps of an episode, by default 400.

    Raises:
      InputError: if ``walls`` is no `Maze`, or ``max_steps`` is below 1.

    >>> environment = maze(MEDIUM_MAZE)
    >>> state, observation = environment.reset(jax.random.key(0))
    >>> state, observation, reward, done = environment.step(jax.random.key(0), state, jnp.array([0.5, 1.0]))
    >>> state.place.tolist(), observation[6:].tolist()  # on the way east; the goal is ahead
    ([30.5, 22.0], [1.0, 0.0, 0.0, 0.0, 1.0])
    """
    require_whole(1, max_steps=max_steps)
    require(isinstance(walls, Maze), f"walls is a {type(walls).__name__}: pass a Maze, such as tasks.HARD_MAZE.")
    ends, goal = np.asarray(walls.walls, np.float32), np.asarray(walls.goal, np.float32)

    def reset(key: Key) -> tuple[Robot, jax.Array]:
        del key
        nothing = jnp.float32(0)
        place = jnp.asarray(walls.start, jnp.float32)
        robot = Robot(place, jnp.float32(walls.heading), nothing, nothing, nothing, nothing)
        return robot, _sense(ends, goal, robot)

    def step(key: Key, robot: Robot, action: Action) -> tuple[Robot, jax.Array, jax.Array, jax.Array]:
        del key
        turn, push = action - 0.5
        spin, speed = (jnp.clip(value, -MOST_SPEED, MOST_SPEED) for value in (robot.spin + turn, robot.speed + push))
        ahead = robot.place + speed * _direction(robot.heading)
        place = jnp.where(_from_walls(ends, ahead) < RADIUS, robot.place, ahead)
        away = jnp.linalg.norm(place - goal)
        reached = away < NEAR
        moved = Robot(
            place, jnp.mod(robot.heading + spin, 360.0), speed, spin, WORTH - away, reached.astype(jnp.float32)
        )
        return moved, _sense(ends, goal, moved), moved.paid - robot.paid, reached

    return Environment(
        reset, step, (len(FINDERS) + len(RADARS) + 1,), Box((0.0, 0.0), (1.0, 1.0)), max_steps, costly=True
    )


def _direction(degrees: Any) -> jax.Array:
    angle = jnp.asarray(degrees, jnp.float32) * (np.pi / 180)
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def _from_walls(ends: np.ndarray, place: jax.Array) -> jax.Array:
    """The distance from a place to the nearest wall."""
    x, y, along_x, along_y = _lines(ends)
    away_x, away_y = place[0] - x, place[1] - y
    part = jnp.clip((away_x * along_x + away_y * along_y) / (along_x**2 + along_y**2), 0, 1)
    return jnp.sqrt(jnp.min((away_x - part * along_x) ** 2 + (away_y - part * along_y) ** 2))


def _sense(ends: np.ndarray, goal: np.ndarray, robot: Robot) -> jax.Array:
    rays = _direction(robot.heading + np.asarray(FINDERS, np.float32))
    finders = jnp.minimum(_until_wall(ends, robot.place, rays) / RANGE, 1)
    to_goal = goal - robot.place
    bearing = jnp.mod(jnp.arctan2(to_goal[1], to_goal[0]) * (180 / np.pi) - robot.heading, 360.0)
    radars = jnp.mod(bearing - np.asarray(RADARS, np.float32), 360.0) < 90
    return jnp.concatenate([finders, radars.astype(jnp.float32), jnp.ones(1, jnp.float32)])


def _until_wall(ends: np.ndarray, place: jax.Array, rays: jax.Array) -> jax.Array:
    """The distance at which each ray ``[R, 2]`` meets a wall; infinity if it meets none."""
    x, y, along_x, along_y = (value[:, None] for value in _lines(ends))  # [W, 1]
    ray_x, ray_y = rays[:, 0], rays[:, 1]
    first_x, first_y = x - place[0], y - place[1]
    across = ray_x * along_y - ray_y * along_x  # [W, R]
    parallel = across == 0
    inverse = 1 / jnp.where(parallel, 1, across)
    far = (first_x * along_y - first_y * along_x) * inverse
    part = (first_x * ray_y - first_y * ray_x) * inverse
    meets = ~parallel & (far >= 0) & (part >= 0) & (part <= 1)
    return jnp.min(jnp.where(meets, far, jnp.inf), axis=0)


def _lines(ends: np.ndarray) -> tuple[np.ndarray, ...]:
    """The walls as start points and vectors: x, y, vector's x, vector's y, ``[W]`` each."""
    return ends[:, 0], ends[:, 1], ends[:, 2] - ends[:, 0], ends[:, 3] - ends[:, 1]
