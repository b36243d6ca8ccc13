"""Tests have four fake CPU devices, and use one unless they name more; with strict promotion of types and warnings as
errors.

XLA compiles without optimisation here, which halves the time of the suite. What promises equal bits is tested with
optimisation too, by the subprocesses of test_experiments.py.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterator

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0")

import jax
import pytest

import jaxga
from jaxga import compilation, devices, nn, tasks, variation

jax.config.update("jax_numpy_dtype_promotion", "strict")
devices.default = lambda: jax.local_devices()[:1]  # what is shared out takes longer to compile


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """Drop what a test module compiled, when it is over.

    A compiled program is several memory maps, of which Linux lets a process have 65,530 (vm.max_map_count). Without
    this a suite in one process comes near that, and one map too many ends the process.
    """
    yield
    ours = [vars(module) for name, module in sys.modules.items() if name.partition(".")[0] == "jaxga"]
    for kept in (value for names in ours for value in names.values() if hasattr(value, "cache_clear")):
        kept.cache_clear()
    compilation._shared.clear()
    jax.clear_caches()
    gc.collect()


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


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT does what it does on a terminal; whoever starts the tests in the background may have it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
