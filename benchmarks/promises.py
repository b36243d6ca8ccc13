"""What the engine promises, measured: memory, time a generation, replay, resume, gradient descent on the same network.

``python -m benchmarks.promises`` takes about four minutes on two cores; ``--parts resume`` is one part alone. Every
child process is measured alone.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import optax

import jaxga
from jaxga import baselines, checkpoint, nn, pedigree, report, tasks, variation
from jaxga.report.files import describe_machine
from jaxga.run import BLOCK, Program, _dispatch, _Sitting


def perceptron() -> jaxga.Task:
    """64 vectors of 128 numbers, MLP 128-128-10: 17,802 weights."""
    return tasks.memorization(nn.MLP((128, 10)), points=64, shape=(128,))


def peak_memory(children: int) -> None:
    """Print this process's peak resident memory, in MiB, after three generations."""
    task = perceptron()
    algorithm = jaxga.ga(task.init, variation.low_rank(variation.relative(0.05)), parents=8, children=children)
    jaxga.run(algorithm, task, generations=3, chunk=16)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory() -> dict[str, Any]:
    """Peak memory against the number of children, a fresh process each."""
    found = {}
    for children in (1024, 65_536):
        command = [sys.executable, "-m", "benchmarks.promises", "--memory", str(children)]
        found[children] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {"MiB at 1,024 children": found[1024], "MiB at 65,536": found[65_536], "ratio": found[65_536] / found[1024]}


def age() -> dict[str, Any]:
    """Time of a generation of a young and of an old run, taken in turns, in medians of 41."""
    task = perceptron()
    algorithm = jaxga.ga(task.init, variation.gaussian(variation.relative(0.05)), parents=8, children=1024)
    program = Program(algorithm, jaxga.vmapped(algorithm, task))
    runs = {age: _Sitting(algorithm, jax.random.key(0), None, None, program) for age in (5, 500)}
    seconds: dict[int, list[float]] = {5: [], 500: []}

    def advance(run: _Sitting, limit: int) -> float:
        begun = time.perf_counter()
        run.state, infos, count, _ = _dispatch(program, run.state, limit)
        run.add(infos, count, run.seconds)
        return time.perf_counter() - begun

    for generation, run in runs.items():
        while run.generations < generation:
            advance(run, min(BLOCK, generation - run.generations))
    for _ in range(41):
        for generation, run in runs.items():
            seconds[generation].append(advance(run, 1))
    young, old = (1e3 * float(np.median(values)) for values in seconds.values())
    return {"ms at generation 5": young, "ms at generation 500": old, "ratio": old / young}


def replay() -> dict[str, Any]:
    """Is the replay of 200 generations equal to the live parents in every bit, and how large is its file?"""
    task = perceptron()
    algorithm = jaxga.ga(task.init, variation.gaussian(variation.relative(0.05)), parents=8, children=128)
    result = jaxga.run(algorithm, task, generations=200)
    with tempfile.TemporaryDirectory() as folder:
        path = pedigree.save(result.pedigree, Path(folder) / "pedigree.npz")
        size, loaded = path.stat().st_size, pedigree.load(path)
    replayed = pedigree.replay(algorithm, loaded)
    pairs = zip(jax.tree.leaves(replayed.parents), jax.tree.leaves(result.state.parents), strict=True)
    equal = all(np.array_equal(one, other) for one, other in pairs)
    return {"equal bit for bit": equal, "bytes a generation": size / 200, "bytes of 8 parents": 8 * 4 * 17_802}


def resume() -> dict[str, Any]:
    """Seconds until the parent of generation 500, of 605,866 weights, is there again.

    A checkpoint is read. A pedigree is replayed from the founder on, all 500 mutations; the program that does so is
    compiled before the clock runs. Medians of 5.
    """
    task = tasks.memorization(nn.ConvNet(10, kernel_init=nn.notes_normal), points=2)
    found = {}
    for mutation in (variation.low_rank, variation.gaussian):
        algorithm = jaxga.ga(task.init, mutation(variation.relative(0.02)), parents=1, children=2)
        with tempfile.TemporaryDirectory() as folder:
            directory = report.RunDirectory(folder, "resume", {})
            jaxga.run(algorithm, task, generations=500, directory=directory)
            saved = pedigree.load(Path(folder) / "pedigree.npz")
            read = partial(_state_of, directory.checkpoints)
            found[f"seconds from a checkpoint, {mutation.__name__}"] = seconds_of(read)
            again = partial(pedigree.replay, algorithm, saved)
            found[f"seconds from the pedigree, {mutation.__name__}"] = seconds_of(again)
    return found


def _state_of(checkpoints: Path) -> jaxga.State:
    return checkpoint.restore(checkpoints).state


def seconds_of(build: Callable[[], Any], times: int = 5) -> float:
    """The median of so many, after one that compiles."""
    jax.block_until_ready(build().parents)
    taken = []
    for _ in range(times):
        begun = time.perf_counter()
        jax.block_until_ready(build().parents)
        taken.append(time.perf_counter() - begun)
    return float(np.median(taken))


def descent() -> dict[str, Any]:
    """Steps of gradient descent to a loss of 1e-5 on 64 images, the convolutional network."""
    task = tasks.memorization(nn.ConvNet(10, kernel_init=nn.notes_normal))
    optimisers = {
        "SGD, momentum 0.9, clipped to 1, 0.01 growing by 5 % a step": optax.chain(
            optax.clip_by_global_norm(1.0), optax.sgd(optax.exponential_decay(0.01, 1, 1.05), 0.9)
        ),
        "Adam 0.003": optax.adam(3e-3),
    }
    found = {}
    for name, optimiser in optimisers.items():
        losses = np.array([baselines.gradient_descent(task, optimiser, 150, seed)[1] for seed in range(5)])
        reached = (losses < 1e-5).any(axis=1)
        steps = report.median_interval((losses < 1e-5).argmax(axis=1)[reached])
        found[f"{name}: steps to 1e-5"] = (
            f"{steps.median:.0f} [{steps.low:.0f}, {steps.high:.0f}], {np.sum(reached)} of 5 seeds"
        )
    return found


PARTS = {part.__name__: part for part in (memory, age, replay, resume, descent)}


@dataclass
class Args:
    parts: tuple[Literal["memory", "age", "replay", "resume", "descent"], ...] = (
        "memory",
        "age",
        "replay",
        "resume",
        "descent",
    )
    """Which of them."""
    out: Path | None = None
    """A JSON file for the figures."""
    memory: int | None = None
    """Only print the peak memory of a run with so many children."""


def main(args: Args) -> None:
    if args.memory:
        peak_memory(args.memory)
        return
    machine = describe_machine()
    figures = {part: PARTS[part]() for part in args.parts}
    report.print_table(
        [
            {"promise": part, "figure": name, "value": value if isinstance(value, str | bool) else f"{value:,.4g}"}
            for part, values in figures.items()
            for name, value in values.items()
        ],
        f"{machine['device']}, JAX {machine['jax']}, Python {machine['python']}",
    )
    if args.out:
        report.write_json(args.out, {"machine": machine, **figures})
    else:
        print(json.dumps(figures))


if __name__ == "__main__":
    report.run_command(main, Args)
