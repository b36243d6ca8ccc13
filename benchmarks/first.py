"""How long until the first generation of the smallest problem is done: three numbers, 32 children, in a new process.

`python -m benchmarks.first`: each of the programs below is started several times, in turns. The time is that of the
whole process, less that of one which only imports JAX and adds two numbers on the device.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

import numpy as np
import tyro

from jaxga.report import print_table

NOTHING = "import jax; jax.block_until_ready(jax.numpy.ones(3) + 1)"
JAXGA = """
import jax.numpy as jnp
import jaxga
from jaxga.variation import absolute, gaussian
task = jaxga.Task(lambda key: jnp.ones(3), lambda key, x: -jnp.sum(x**2))
algorithm = jaxga.ga(task.init, gaussian(absolute(0.1)), parents=8, children=32)
"""
PROGRAMS = {
    "JAX alone": NOTHING,
    "jaxga, run": JAXGA + "jaxga.run(algorithm, task, generations=1)",
    "jaxga, ask and tell": JAXGA
    + """
import jax
state = algorithm.init(jax.random.key(0))
children = jaxga.population(algorithm, state)
state, info = jax.jit(algorithm.update)(state, jaxga.Evaluation(-(children.params**2).sum(axis=1)))
jax.block_until_ready(state.fitness)
""",
    "evosax SimpleGA": """
import jax, jax.numpy as jnp
from evosax.algorithms import SimpleGA
strategy = SimpleGA(population_size=32, solution=jnp.ones(3))
params = strategy.default_params
key = jax.random.key(0)
population, fitness = jnp.ones((32, 3)), jnp.full(32, 3.0)
state = jax.jit(strategy.init)(key, population, fitness, params)
children, state = jax.jit(strategy.ask)(key, state, params)
state, metrics = jax.jit(strategy.tell)(key, children, (children**2).sum(axis=1), state, params)
jax.block_until_ready(state)
""",
}


@dataclass
class Args:
    repeats: int = 7


def main(args: Args) -> None:
    """A table: with no compiled programs at hand, and with those that the same program left before."""
    with tempfile.TemporaryDirectory() as folder:
        kinds = {"first time": "", "again": folder}
        found = {(name, kind): [] for name in PROGRAMS for kind in kinds}
        for name in PROGRAMS:
            seconds(PROGRAMS[name], folder)  # leaves its programs
        for _ in range(args.repeats):
            for name, kind in found:
                found[name, kind].append(seconds(PROGRAMS[name], kinds[kind]))
    medians = {which: float(np.median(values)) for which, values in found.items()}
    rows = [
        {"program": name} | {f"{kind}, s": round(medians[name, kind] - medians["JAX alone", kind], 2) for kind in kinds}
        for name in PROGRAMS
    ]
    print_table(rows, f"seconds beyond importing JAX, medians of {args.repeats} processes")


def seconds(program: str, cache: str) -> float:
    """Of wall-clock, for a new process; ``cache`` is a folder of compiled programs."""
    kept = {"JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"} if cache else {}
    dropped = {"JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS"}
    environment = {name: value for name, value in os.environ.items() if name not in dropped} | kept
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    return time.perf_counter() - started


if __name__ == "__main__":
    main(tyro.cli(Args))
