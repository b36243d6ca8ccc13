"""Tests have four fake CPU devices, and use one unless they name more; with strict promotion of types and warnings as
errors.

XLA compiles without optimisation here, each program as one piece, and fused loops by its older emitter where it still
has that: most of the time of the suite is compilation, and this takes a third of it. What promises equal bits is tested
as users compile too, by the subprocesses of test_experiments.py and test_distributed.py. Whoever sets XLA_FLAGS decides
on all of it: `make test-all` compiles fused loops as users do.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
    " --xla_cpu_parallel_codegen_split_count=1"
    # JAX 0.11 has one emitter, and refuses a flag that it does not know.
    + (" --xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else ""),
)

import jax
import pytest

import jaxga
from jaxga import compilation, devices, nn, tasks, variation

jax.config.update("jax_numpy_dtype_promotion", "strict")
devices.default = lambda: jax.local_devices()[:1]  # what is shared out takes longer to compile


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """Drop all compiled programs, when a test module is over that left many of them.

    A compiled program is several memory maps, of which Linux lets a process have 65,530 (vm.max_map_count). Without
    this a suite in one process comes near that, and one map too many ends the process. Small programs are the same in
    every module, so they are kept while there is room.
    """
    yield
    if memory_maps() < 5_000:
        return
    ours = [vars(module) for name, module in sys.modules.items() if name.partition(".")[0] == "jaxga"]
    for kept in (value for names in ours for value in names.values() if hasattr(value, "cache_clear")):
        kept.cache_clear()
    compilation._shared.clear()
    jax.clear_caches()
    gc.collect()


def memory_maps() -> float:
    """How many memory maps this process has; infinitely many where nothing says it."""
    try:
        return Path("/proc/self/maps").read_text().count("\n")
    except OSError:
        return float("inf")


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
