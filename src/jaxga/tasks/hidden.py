"""Small environments with a hidden variable to find out within a life: a goal, a body, or the best end of a maze."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxga.base import Key, require, require_whole
from jaxga.tasks.control import Action, Box, Environment

SPEED, ARRIVED = 0.1, 0.01  # longest step along each axis; distance along each axis below which the goal is reached


class Point(NamedTuple):
    """The state of one episode of `point`."""

    place: jax.Array  # [2] position of the point
    goal: jax.Array  # [2] position of the goal
    turned: jax.Array  # [] radians, the angle by which steps are rotated
    reward: jax.Array  # [] the reward of the last step


def point(goal: Any = None, *, turned: bool = False, tells: bool = False, max_steps: int = 100) -> Environment:
    """Go to a goal on the plane that is not observed. The reward of a step is minus the distance to the goal.

    With a goal it is the point navigation of Finn et al. (2017). The point starts at (0, 0). Actions ``[2]`` are steps,
    clipped to -0.1 to 0.1 along each axis. The episode ends when the point is nearer than 0.01 to the goal along both
    axes. In that paper, goals are drawn uniformly from -0.5 to 0.5 along each axis.

    Args:
      goal: ``[2]``, the same in every episode. None (default) draws a goal for each episode, as in that paper.
      turned: True shows the goal and hides the body instead: in each episode all steps are rotated by an angle that is
        drawn for the episode. By default False.
      tells: add the last reward to the observation, by default False. Without it, no policy can find a hidden goal
        within the episode.
      max_steps: most steps of an episode, by default 100.

    Observations ``[2]`` to ``[5]``: the position ``[2]``; with ``turned`` the vector to the goal ``[2]``; with
    ``tells`` the last reward.

    Raises:
      InputError: if ``goal`` is not two numbers, or ``max_steps`` is below 1.

    >>> environment = point((0.3, 0.0))
    >>> state, observation = environment.reset(jax.random.key(0))
    >>> state, observation, reward, done = environment.step(jax.random.key(0), state, jnp.array([1.0, 0.0]))
    >>> [round(float(number), 2) for number in observation], round(float(reward), 2), bool(done)
    ([0.1, 0.0], -0.2, False)
    """
    require_whole(1, max_steps=max_steps)
    shape = (2,) if goal is None else np.shape(goal)
    require(shape == (2,), f"goal has shape {shape}, and two numbers are due.")

    def observed(state: Point) -> jax.Array:
        parts = [state.place, *([state.goal - state.place] if turned else []), *([state.reward[None]] if tells else [])]
        return jnp.concatenate(parts)

    def reset(key: Key) -> tuple[Point, jax.Array]:
        key_goal, key_turn = jax.random.split(key)
        drawn = jax.random.uniform(key_goal, (2,), jnp.float32, -0.5, 0.5)
        angle = jax.random.uniform(key_turn, (), jnp.float32, -jnp.pi, jnp.pi) if turned else jnp.float32(0)
        found = drawn if goal is None else jnp.asarray(goal, jnp.float32)
        state = Point(jnp.zeros(2, jnp.float32), found, angle, jnp.float32(0))
        return state, observed(state)

    def step(key: Key, state: Point, action: Action) -> tuple[Point, jax.Array, jax.Array, jax.Array]:
        del key
        x, y = jnp.clip(action, -SPEED, SPEED)
        cos, sin = jnp.cos(state.turned), jnp.sin(state.turned)
        place = state.place + jnp.stack([cos * x - sin * y, sin * x + cos * y])
        away = state.goal - place
        reward = -jnp.sqrt(jnp.sum(away**2))
        state = state._replace(place=place, reward=reward)
        return state, observed(state), reward, (jnp.abs(away) < ARRIVED).all()

    size = 2 + 2 * turned + tells
    return Environment(reset, step, (size,), Box((-SPEED,) * 2, (SPEED,) * 2), max_steps)


class Trip(NamedTuple):
    """The state of one episode in the T-maze."""

    step: jax.Array  # [] int32, number of the step within the trip
    trip: jax.Array  # [] int32, number of the trip
    turned: jax.Array  # [turns], turns of this trip so far: -1 left, 1 right, 0 not yet
    best: jax.Array  # [] int32, the end with the high reward before the switch
    later: jax.Array  # [] int32, the end with the high reward from the switch on
    switch: jax.Array  # [] int32, the trip at which the high reward moves


def t_maze(turns: int = 2, trips: int = 40) -> Environment:
    """A maze of T junctions with 2 ** turns ends. One end pays 1, the others 0.2, and the best end changes once.

    A trip leads from home through corridors and junctions to an end, which pays the reward. The next trip starts at
    home. In a corridor (and at home) the only valid action is 1, straight on. At a junction 0, left, and 2, right, are
    valid. Any other action is a crash: the reward is -0.4 and the trip is over.

    The best end is drawn for each episode. Once per episode, after 35 to 65 % of the trips, another end becomes the
    best. A policy can notice this by rewards alone. With two turns it is the double T-maze of Soltoggio et al. (2008),
    with corridors of equal length.

    Args:
      turns: number of junctions on a trip, by default 2.
      trips: number of trips in an episode, 2 or more, by default 40.

    Observations ``[4 + turns]``: three flags (at home, in a corridor, at a junction); the last reward; and only at
    home, the turns of the last trip, -1 left, 1 right, 0 for a turn that was not made.

    Raises:
      InputError: if ``turns`` is below 1, or ``trips`` is below 2.

    >>> environment = t_maze()
    >>> state, observation = environment.reset(jax.random.key(0))
    >>> rewards = []
    >>> for action in (1, 0, 1, 2):
    ...     state, observation, reward, done = environment.step(jax.random.key(0), state, jnp.int32(action))
    ...     rewards.append(round(float(reward), 1))
    >>> rewards[:3], rewards[3] in (0.2, 1.0), int(state.trip)
    ([0.0, 0.0, 0.0], True, 1)
    """
    require_whole(1, turns=turns)
    require_whole(2, trips=trips)
    ends, length = 2**turns, 2 * turns
    level = np.arange(turns, dtype=np.int32)
    worth = (2 ** level[::-1]).astype(np.int32)  # what a right turn at each level adds to the number of the end

    def observed(step: jax.Array, reward: jax.Array, turned: jax.Array) -> jax.Array:
        at = jnp.stack([step == 0, (step > 0) & (step % 2 == 0), step % 2 == 1])
        return jnp.concatenate([at.astype(jnp.float32), reward[None], jnp.where(step == 0, turned, 0)])

    def reset(key: Key) -> tuple[Trip, jax.Array]:
        key_best, key_later, key_switch = jax.random.split(key, 3)
        best = jax.random.randint(key_best, (), 0, ends, jnp.int32)
        later = (best + jax.random.randint(key_later, (), 1, ends, jnp.int32)) % ends
        switch = jax.random.randint(key_switch, (), int(0.35 * trips), max(int(0.65 * trips), 1) + 1, jnp.int32)
        nothing = jnp.int32(0)
        none = jnp.zeros(turns, jnp.float32)
        return Trip(nothing, nothing, none, best, later, switch), observed(nothing, jnp.float32(0), none)

    def step(key: Key, state: Trip, action: Action) -> tuple[Trip, jax.Array, jax.Array, jax.Array]:
        del key
        junction = state.step % 2 == 1
        good = jnp.where(junction, action != 1, action == 1)
        here = junction & good & (level == state.step // 2)
        turned = jnp.where(here, (action - 1).astype(jnp.float32), state.turned)
        end = jnp.sum(jnp.where(turned > 0, worth, 0))
        arrived = good & (state.step == length - 1)
        best = jnp.where(state.trip < state.switch, state.best, state.later)
        paid = jnp.where(arrived, jnp.where(end == best, 1.0, 0.2), 0.0)
        reward = jnp.where(good, paid, -0.4).astype(jnp.float32)
        over = arrived | ~good
        after = state._replace(
            step=jnp.where(over, 0, state.step + 1),
            trip=state.trip + over.astype(jnp.int32),
            turned=jnp.where(over, 0, turned),
        )
        return after, observed(after.step, reward, turned), reward, after.trip >= trips

    return Environment(reset, step, (4 + turns,), 3, length * trips)


class Walker(NamedTuple):
    """The state of one episode in the four rooms."""

    place: jax.Array  # [2] int32, row and column of the agent
    goal: jax.Array  # [2] int32, row and column of the goal


MOVES = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)], np.int32)  # north, east, south, west


def rooms(size: int) -> np.ndarray:
    """Which cells of `four_rooms` are free, bool ``[size, size]``.

    >>> rooms(5).astype(int).tolist()[:3]
    [[1, 1, 0, 1, 1], [1, 1, 1, 1, 1], [0, 1, 0, 1, 0]]
    """
    middle, door = size // 2, size // 4
    free = np.ones((size, size), bool)
    free[middle, :] = free[:, middle] = False
    for way in (door, size - 1 - door):
        free[middle, way] = free[way, middle] = True
    return free


def four_rooms(size: int = 9, goal: Any = None, max_steps: int = 100) -> Environment:
    """Walk on a grid of four rooms from a random cell to a goal (Sutton, Precup and Singh 1999).

    The step that reaches the goal has reward 1 and ends the episode. The grid has ``size`` rows and columns, not
    counting outer walls. The middle row and the middle column are walls, with a door in the middle of each half.
    Actions 0 to 3 go north, east, south and west. A move into a wall has no effect.

    Args:
      size: rows and columns of the grid, odd and 5 or more, by default 9.
      goal: row and column of the goal, a free cell. By default the lower right corner.
      max_steps: most steps of an episode, by default 100.

    Observations ``[2 * size]``: the row, one-hot, then the column, one-hot.

    Raises:
      InputError: if ``size`` is even or below 5, or ``goal`` is not a free cell.

    >>> environment = four_rooms(5)
    >>> state, observation = environment.reset(jax.random.key(0))
    >>> observation.shape, float(observation.sum())
    ((10,), 2.0)
    """
    require_whole(5, size=size)
    require(size % 2 == 1, f"size is {size}, and must be odd, so that there is a middle.")
    free = rooms(size)
    aim = (size - 1, size - 1) if goal is None else goal
    cells = np.argwhere(free).astype(np.int32)
    if not isinstance(aim, Tracer):
        known = np.asarray(aim).shape == (2,) and (np.asarray(aim) == cells).all(axis=1).any()
        require(bool(known), f"goal is {aim}, and must be row and column of a free cell of {size} x {size}.")

    def observed(place: jax.Array) -> jax.Array:
        return jax.nn.one_hot(place, size, dtype=jnp.float32).reshape(-1)

    def reset(key: Key) -> tuple[Walker, jax.Array]:
        target = jnp.asarray(aim, jnp.int32)
        first = jax.random.randint(key, (), 0, len(cells) - 1, jnp.int32)  # any cell but the goal
        reached = (jnp.asarray(cells) == target).all(axis=1)
        chosen = jnp.asarray(cells)[jnp.argsort(reached, stable=True)[first]]
        return Walker(chosen, target), observed(chosen)

    def step(key: Key, state: Walker, action: Action) -> tuple[Walker, jax.Array, jax.Array, jax.Array]:
        del key
        ahead = jnp.clip(state.place + jnp.asarray(MOVES)[action], 0, size - 1)
        place = jnp.where(jnp.asarray(free)[ahead[0], ahead[1]], ahead, state.place)
        arrived = (place == state.goal).all()
        return state._replace(place=place), observed(place), arrived.astype(jnp.float32), arrived

    return Environment(reset, step, (2 * size,), 4, max_steps)
