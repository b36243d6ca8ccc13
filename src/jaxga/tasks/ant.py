"""A four-legged ant that runs in a known or unknown direction. The physics is MJX, MuJoCo on JAX.

`pip install 'jaxga[ant]'`. The state of an episode holds only positions, speeds and the last accelerations, from which
the solver starts. MJX recomputes all its other data from them in each step.
"""

import contextlib
import io
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import InputError, Key, require, require_whole
from jaxga.tasks.control import Action, Box, Environment

SUBSTEPS, SECONDS = 5, 0.01  # physics steps per step of the agent, and the duration of a physics step
LOWEST, HIGHEST = 0.2, 1.0  # metres, the allowed range of the torso's height above the ground
EFFORT = 0.5  # cost per unit of the sum of squared actions
FASTEST = 10.0  # observed speeds, and the observed reward in `ant_goal`, are clipped to this absolute value

_LEG = """
<body euler="0 0 {turn}">
  <geom type="capsule" fromto="0 0 0 0.28 0 0" size="0.08"/>
  <body pos="0.28 0 0">
    <joint name="hip{n}" axis="0 0 1" range="-30 30"/>
    <geom type="capsule" fromto="0 0 0 0.28 0 0" size="0.08"/>
    <body pos="0.28 0 0">
      <joint name="knee{n}" axis="0 1 0" range="30 70"/>
      <geom type="capsule" fromto="0 0 0 0.56 0 0" size="0.08"/>
      <geom type="sphere" pos="0.56 0 0" size="0.08" contype="1"/>
    </body>
  </body>
</body>"""
_MODEL = """
<mujoco model="ant">
  <compiler angle="degree"/>
  <option timestep="{seconds}" iterations="1" ls_iterations="4" solver="Newton"><flag eulerdamp="disable"/></option>
  <default>
    <joint type="hinge" armature="1" damping="1" limited="true"/>
    <geom contype="0" conaffinity="0" density="5" friction="1 0.5 0.5" condim="3"/>
    <motor ctrllimited="true" ctrlrange="-1 1" gear="150"/>
  </default>
  <worldbody>
    <geom type="plane" size="100 100 1" conaffinity="1"/>
    <body pos="0 0 0.75">
      <freejoint/>
      <geom type="sphere" size="0.25" contype="1"/>{legs}
    </body>
  </worldbody>
  <actuator>{motors}</actuator>
</mujoco>"""


class AntState(NamedTuple):
    """The state of one episode."""

    position: jax.Array  # [15] position of the torso [3], its orientation [4] and joint angles [8], MuJoCo's qpos
    speed: jax.Array  # [14] linear, angular and joint speeds, MuJoCo's qvel
    acceleration: jax.Array  # [14] the last accelerations, from which the solver starts
    direction: jax.Array  # [2] unit vector, the direction in which speed is rewarded


def ant(max_steps: int = 1000, direction: Any = (1.0, 0.0)) -> Environment:
    """Run in one direction, by default along the x axis. The direction is not observed.

    The reward of a step is the speed in the direction in m/s, plus 1, minus 0.5 times the sum of squared actions. An
    episode ends when the torso is lower than 0.2 m or higher than 1 m.

    Observations ``[27]``: all positions except the place on the ground, and all speeds. Actions ``[8]``: torques from
    -1 to 1. The reward is that of Gymnasium's Ant-v4, but the body is another one, so returns cannot be compared. On
    two CPU cores, compiling a run takes one to three minutes, and 64 ants make about 2,500 steps per second.

    Args:
      max_steps: most steps of an episode, by default 1000.
      direction: ``[2]``, a vector of length 1 on the ground, by default (1, 0).

    Raises:
      InputError: if MJX is not installed, ``max_steps`` is below 1, or ``direction`` is not two numbers.
    """
    require(np.shape(direction) == (2,), f"direction has shape {np.shape(direction)}, and two numbers are due.")

    def same(key: Key) -> jax.Array:
        del key
        return jnp.asarray(direction, jnp.float32)

    def nothing(direction: jax.Array, action: Action, reward: jax.Array) -> tuple[jax.Array, ...]:
        del direction, action, reward
        return ()

    return _ant(max_steps, same, nothing)


def ant_goal(seen: bool = False, max_steps: int = 200) -> Environment:
    """Run in a direction that is drawn uniformly for each episode. Only speed in this direction is rewarded.

    Args:
      seen: True adds the direction to the observation, ``[29]``. False (default) adds the last action and the last
        reward instead, ``[36]``, so a policy needs a memory to find the direction.
      max_steps: most steps of an episode, by default 200.

    Raises:
      InputError: if MJX is not installed, or ``max_steps`` is below 1.
    """

    def draw(key: Key) -> jax.Array:
        angle = jax.random.uniform(key, (), jnp.float32, maxval=2 * jnp.pi)
        return jnp.stack([jnp.cos(angle), jnp.sin(angle)])

    def told(direction: jax.Array, action: Action, reward: jax.Array) -> tuple[jax.Array, ...]:
        return (direction,) if seen else (action, jnp.clip(reward, -FASTEST, FASTEST)[None])

    return _ant(max_steps, draw, told)


def _ant(max_steps: int, draw: Any, told: Any) -> Environment:
    require_whole(1, max_steps=max_steps)
    mjx, model, template = _physics()
    standard = partial(jax.numpy_dtype_promotion, "standard")  # what MJX is written for
    start = jnp.asarray(template.qpos, jnp.float32)

    def seen(state: AntState, action: Action, reward: jax.Array) -> jax.Array:
        own = state.position[2:], jnp.clip(state.speed, -FASTEST, FASTEST)
        return jnp.concatenate([*own, *told(state.direction, action, reward)])

    def reset(key: Key) -> tuple[AntState, jax.Array]:
        key_position, key_speed, key_goal = jax.random.split(key, 3)
        position = start + jax.random.uniform(key_position, start.shape, jnp.float32, -0.1, 0.1)
        speed = 0.1 * jax.random.normal(key_speed, (14,), jnp.float32)
        state = AntState(position, speed, jnp.zeros(14, jnp.float32), draw(key_goal))
        return state, seen(state, jnp.zeros(8, jnp.float32), jnp.float32(0))

    def substep(torques: Any, data: Any, _: None) -> tuple[Any, None]:
        with standard():
            position, speed, acceleration = data
            data = template.replace(qpos=position, qvel=speed, qacc_warmstart=acceleration, ctrl=torques)
            data = mjx.step(model, data)
            return (data.qpos, data.qvel, data.qacc_warmstart), None

    def step(key: Key, state: AntState, action: Action) -> tuple[AntState, jax.Array, jax.Array, jax.Array]:
        del key
        moving = state.position, state.speed, state.acceleration
        (position, speed, acceleration), _ = jax.lax.scan(partial(substep, action), moving, None, length=SUBSTEPS)
        after = AntState(position, speed, acceleration, state.direction)
        way = (after.position - state.position)[:2] / (SUBSTEPS * SECONDS)
        reward = jnp.sum(way * state.direction) + 1 - EFFORT * jnp.sum(jnp.square(action))
        over = (after.position[2] < LOWEST) | (after.position[2] > HIGHEST)
        return after, seen(after, action, reward), reward, over

    size = jax.eval_shape(reset, jax.random.key(0))[1].shape
    return Environment(reset, step, size, Box((-1.0,) * 8, (1.0,) * 8), max_steps)


def _physics() -> tuple[Any, Any, Any]:
    """MJX, the model, and data in which the ant stands."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the import prints which other engines are missing
            import mujoco  # pyright: ignore[reportMissingImports]
            from mujoco import mjx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(f"the ant needs MJX, which is missing ({error}): pip install 'jaxga[ant]'.") from error
    with jax.numpy_dtype_promotion("standard"):
        made: Any = mujoco.MjModel.from_xml_string(_mjcf())  # pyright: ignore[reportAttributeAccessIssue]
        model, data = mjx.put_model(made), mjx.make_data(made)
    standing = np.concatenate([made.qpos0[:7], np.tile([0.0, np.pi * 50 / 180], 4)])
    return mjx, model, data.replace(qpos=jnp.asarray(standing, jnp.float32))


def _mjcf() -> str:
    """The body as MuJoCo XML: a torso and four legs, each of three parts with a hip joint and a knee joint."""
    turns = (45, 135, 225, 315)
    legs = "".join(_LEG.format(n=n, turn=turn) for n, turn in enumerate(turns))
    motors = "".join(f'<motor joint="{joint}{n}"/>' for n in range(4) for joint in ("hip", "knee"))
    return _MODEL.format(seconds=SECONDS, legs=legs, motors=motors)
