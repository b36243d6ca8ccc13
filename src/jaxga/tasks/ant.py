"""An ant with four legs that learns to run, or to find out where to: physics by MJX, MuJoCo on JAX.

`pip install 'jaxga[ant]'`. The state of an episode is no more than positions, speeds and the last accelerations, from
which the solver starts: everything else that MJX keeps is made of them anew at each step.
"""

import contextlib
import io
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import InputError, Key, require_whole
from jaxga.tasks.control import Action, Box, Environment

SUBSTEPS, SECONDS = 5, 0.01  # of physics in a step of the agent, and each of them
LOWEST, HIGHEST = 0.2, 1.0  # metres that the torso of a healthy ant is above the ground
EFFORT = 0.5  # what the sum of squared actions costs, by weight
FASTEST = 10.0  # speeds are seen up to here, and so is the reward of a goal

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
    """One episode."""

    position: jax.Array  # [15] place, orientation and joints of the ant
    speed: jax.Array  # [14]
    acceleration: jax.Array  # [14]
    direction: jax.Array  # [2] in which speed is worth something


def ant(max_steps: int = 1000) -> Environment:
    """Run along the x axis: a step is worth the speed in m/s, plus 1 for being upright, minus 0.5 times the squared
    actions; an episode is over once the torso is lower than 0.2 m or higher than 1 m.

    The observation is all of position but the place on the ground, and speeds, 27 numbers; the action is 8 torques.
    Rewards are those of Gymnasium's Ant-v4, but the body is our own: returns cannot be compared. Compiling a run takes
    a minute or three on two CPU cores, where 64 ants make some 2,500 steps a second.

    Raises:
      InputError: where MJX is not installed.
    """

    def east(key: Key) -> jax.Array:
        del key
        return jnp.array([1.0, 0.0], jnp.float32)

    def nothing(direction: jax.Array, action: Action, reward: jax.Array) -> tuple[jax.Array, ...]:
        del direction, action, reward
        return ()

    return _ant(max_steps, east, nothing)


def ant_goal(seen: bool = False, max_steps: int = 200) -> Environment:
    """Every episode has a direction of its own, drawn uniformly, and speed is worth something in that direction alone.

    It is ``seen`` in the observation, 29 numbers; or else an ant has to find out: it sees its last action and its last
    reward, 36 numbers, which only a policy with a memory makes much of.
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
        with contextlib.redirect_stdout(io.StringIO()):  # it prints which of its other engines are missing
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
    """The body: a torso, and four legs of three parts, whose hip turns and whose knee bends."""
    turns = (45, 135, 225, 315)
    legs = "".join(_LEG.format(n=n, turn=turn) for n, turn in enumerate(turns))
    motors = "".join(f'<motor joint="{joint}{n}"/>' for n in range(4) for joint in ("hip", "knee"))
    return _MODEL.format(seconds=SECONDS, legs=legs, motors=motors)
