"""The ant against MuJoCo itself, and its rewards against what was moved. Compiling it takes long: all are slow."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import nn, tasks
from jaxga.tasks.ant import SECONDS, SUBSTEPS, _mjcf

KEY = jax.random.key(0)


def test_without_mjx_the_pip_line_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(jaxga.InputError, match=r"pip install 'jaxga\[ant\]'"):
        tasks.ant()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_ant_moves_as_in_mujoco():
    mujoco = pytest.importorskip("mujoco")
    pytest.importorskip("mujoco.mjx")
    environment = tasks.ant()
    step, (state, observation) = jax.jit(environment.step), environment.reset(KEY)
    model = mujoco.MjModel.from_xml_string(_mjcf())
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    assert observation.shape == environment.observation == (27,)
    for _ in range(25):
        data.qpos, data.qvel, data.qacc_warmstart = state.position, state.speed, state.acceleration
        data.ctrl = action = rng.uniform(-0.5, 0.5, 8)
        before = np.array(data.qpos[:2])
        mujoco.mj_step(model, data, SUBSTEPS)
        state, observation, reward, over = step(KEY, state, jnp.asarray(action, jnp.float32))
        np.testing.assert_allclose(state.position, data.qpos, atol=5e-3)
        np.testing.assert_allclose(observation[:13], data.qpos[2:], atol=5e-3)
        speed = (data.qpos[:2] - before) / (SUBSTEPS * SECONDS)
        np.testing.assert_allclose(reward, speed[0] + 1 - 0.5 * (action**2).sum(), atol=0.1)
        assert bool(over) == (not 0.2 <= data.qpos[2] <= 1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("seen", "size"), [(True, 29), (False, 36)])
def test_a_goal_is_told_or_felt(seen, size):
    pytest.importorskip("mujoco.mjx")
    environment = tasks.ant_goal(seen)
    state, observation = environment.reset(KEY)
    action = jnp.linspace(-0.3, 0.4, 8)
    step = jax.jit(environment.step)
    after, observed, reward, _ = step(KEY, state, action)
    _, _, opposite, _ = step(KEY, state._replace(direction=-state.direction), action)
    assert observation.shape == observed.shape == environment.observation == (size,)
    told = state.direction if seen else np.append(action, reward)
    np.testing.assert_allclose(observed[27:], told, rtol=1e-6)
    moved = (after.position - state.position)[:2] / 0.05
    np.testing.assert_allclose(reward - opposite, 2 * moved @ state.direction, rtol=1e-4)
    np.testing.assert_allclose(reward + opposite, 2 - float(jnp.sum(action**2)), rtol=1e-4)
    goals = np.array([environment.reset(key)[0].direction for key in jax.random.split(KEY, 5)])
    np.testing.assert_allclose((goals**2).sum(1), 1, rtol=1e-5)
    assert len(np.unique(goals[:, 0])) == 5
    task = tasks.control(environment, nn.MLP((8,)), max_steps=2)
    assert np.isfinite(jax.jit(task.evaluate)(KEY, task.init(KEY)).fitness)


def test_a_direction_is_two_numbers():
    with pytest.raises(jaxga.InputError, match=r"direction has shape \(3,\)"):
        tasks.ant(direction=(1.0, 0.0, 0.0))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_ant_is_paid_in_its_direction():
    pytest.importorskip("mujoco.mjx")
    forwards, sidewards = tasks.ant(), tasks.ant(direction=(0.0, 1.0))
    action = jnp.linspace(-0.3, 0.4, 8)
    found = [jax.jit(one.step)(KEY, one.reset(KEY)[0], action) for one in (forwards, sidewards)]
    np.testing.assert_allclose(found[0][0].position, found[1][0].position, rtol=1e-6)
    moved = (found[0][0].position - forwards.reset(KEY)[0].position)[:2] / (SUBSTEPS * SECONDS)
    np.testing.assert_allclose(found[0][2] - found[1][2], moved[0] - moved[1], rtol=1e-4)
