"""The deceptive mazes of Lehman and Stanley (2011), as environments that are JAX programs."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import Key, require, require_whole
from jaxga.tasks.control import Action, Box, Environment

RADIUS, NEAR = 8.0, 5.0  # of the robot; the goal is reached at less than this distance
RANGE = 100.0  # of a range finder
MOST_SPEED = 3.0  # forward in units, and turning in degrees, a step
FINDERS = (-90.0, -45.0, 0.0, 45.0, 90.0, -180.0)  # degrees from the heading
RADARS = (315.0, 45.0, 135.0, 225.0)  # where each quarter begins, degrees from the heading
WORTH = 300.0  # fitness is this less the distance from the goal in the end


class Maze(NamedTuple):
    """Walls ``[W, 4]`` as x and y of both ends; where the robot starts, its heading in degrees, and the goal."""

    walls: tuple[tuple[float, float, float, float], ...]
    start: tuple[float, float]
    heading: float
    goal: tuple[float, float]


MEDIUM_MAZE = Maze(
    (
        (293, 7, 289, 130), (289, 130, 6, 134), (6, 134, 8, 5), (8, 5, 292, 7), (241, 130, 58, 65), (114, 7, 73, 42),
        (130, 91, 107, 46), (196, 8, 139, 51), (219, 122, 182, 63), (267, 9, 214, 63), (271, 129, 237, 88),
    ),
    (30.0, 22.0), 0.0, (270.0, 100.0),
)  # fmt: skip
"""The medium maze: walls lead away from the goal for a part of the way."""

HARD_MAZE = Maze(
    (
        (41, 5, 3, 8), (3, 8, 4, 49), (4, 49, 57, 53), (4, 49, 7, 202), (7, 202, 195, 198), (195, 198, 186, 8),
        (186, 8, 39, 5), (56, 54, 56, 157), (57, 106, 158, 162), (77, 201, 108, 164), (6, 80, 33, 121),
        (192, 146, 87, 91), (56, 55, 133, 30),
    ),
    (36.0, 184.0), 0.0, (31.0, 20.0),
)  # fmt: skip
"""The hard maze: whoever goes towards the goal ends in a dead end."""


class Robot(NamedTuple):
    """The state of one episode."""

    place: jax.Array  # [2]
    heading: jax.Array  # [] degrees
    speed: jax.Array  # []
    spin: jax.Array  # [] degrees a step
    paid: jax.Array  # [] the sum of rewards so far
    solved: jax.Array  # [] 1 where the goal was reached, else 0


def maze(walls: Maze = HARD_MAZE, max_steps: int = 400) -> Environment:
    """Steer a round robot through a maze; the return is 300 less the distance from the goal in the end.

    Observations ``[11]``: six range finders (how far a wall is, from 0 to 1, which is 100 or more), at -90, -45, 0, 45,
    90 and 180 degrees; four radars (1 in the quarter in which the goal lies: ahead, right, behind, left); a constant 1.
    Actions ``[2]``, from 0 to 1: less 1/2 each they are added to the spin and to the speed, which are kept between -3
    and 3. A robot of radius 8 that would touch a wall stays where it is. An episode ends at a distance of less than 5
    from the goal.

    The geometry and the dynamics are those of the program of 2008. There a fault writes a radar over the finder that
    looks back, and leaves the last input unwritten; here all eleven inputs are what the paper says.

    ``state.place`` is where the robot is: ``control(..., observe={"end": observe.last(lambda state, _: state.place)})``
    makes a descriptor of it.

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
    """The distance of a place from the nearest wall."""
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
    """How far each ray ``[R, 2]`` goes until it meets a wall; infinity where it meets none."""
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
    """Where walls begin, and how far they go: x, y, along x, along y, ``[W]`` each."""
    return ends[:, 0], ends[:, 1], ends[:, 2] - ends[:, 0], ends[:, 3] - ends[:, 1]
