"""Tests have four fake CPU devices, and use one unless they name more; with strict promotion of types and warnings as
errors.

XLA compiles without optimisation here, which halves the time of the suite. What promises equal bits is tested with
optimisation too, by the subprocesses of test_experiments.py.
"""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0")

import jax
import pytest

import jaxga
from jaxga import nn, tasks, variation

jax.config.update("jax_numpy_dtype_promotion", "strict")
ONE = jax.local_devices()[:1]
jax.local_devices = lambda *_, **__: ONE  # runs on one device: what is shared out takes longer to compile


@pytest.fixture(scope="session")
def task() -> jaxga.Task:
    """A tiny memorization task: eight vectors, 180 parameters."""
    return tasks.memorization(nn.MLP((8, 4)), points=8, shape=(16,), classes=4)


@pytest.fixture(scope="session")
def params(task):
    return jax.jit(task.init)(jax.random.key(7))


@pytest.fixture(scope="session")
def algorithm(task) -> jaxga.Algorithm:
    """4 parents, 16 children, Gaussian, one elite."""
    return jaxga.ga(task.init, variation.gaussian(variation.relative(0.3)), parents=4, children=16, elites=1)
