"""What crosses between processes, what kills cost, and how far one head can go: ``python -m benchmarks.cluster``.

Real processes of this machine on loopback: Ray's nodes and workers, and two processes joined by gloo.

* traffic: bytes a generation, of networks of two sizes. What workers are told and answer, as arrays; and all that
  passes through the loopback device, which has Ray's own messages and TCP's heads in it, less what passes when idle.
* chaos: a run on four nodes of one core, undisturbed, and with a node killed and another one joining every few seconds.
* scaling: Atari on one worker and on two. Then what the head does for a slice, with slices of nothing, and where that
  would leave a thousand workers.
"""

import logging
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

import jaxga
from jaxga import distributed, nn, report, tasks, variation
from jaxga.evaluate.cluster import LOOPBACK
from jaxga.evaluate.pool import Pool
from jaxga.evaluate.vmapped import parts_of_child
from jaxga.report.files import describe_machine

CHILDREN, PARENTS = 1024, 8
SIZES = {"small": (8, 10), "large": (1024, 10)}  # hidden units and classes, of vectors of 64 numbers
SLICE_SECONDS = (0.1, 1.0, 10.0)  # for the projection
FLEET = (10, 30, 100, 300, 1000)  # workers


@dataclass
class Args:
    parts: tuple[Literal["traffic", "chaos", "scaling"], ...] = ("traffic", "chaos", "scaling")
    """What to measure."""
    generations: int = 200
    """Of the chaos."""
    every: float = 3.0
    """Seconds from one kill to the next."""
    seed: int = 0
    """Of who is killed."""
    process: str = ""
    """For use by itself: one of the two that gloo joins."""
    out: Path | None = None
    """A JSON file for the figures."""


def make(size: str, children: int = CHILDREN, chunk: int = 8) -> jaxga.Vmapped:
    """Sixty-four vectors to be memorized; survivors are children, not means."""
    task = tasks.memorization(nn.MLP(SIZES[size]), points=64, shape=(64,), loss=tasks.cross_entropy)
    mutation = variation.low_rank(variation.relative(0.05))
    algorithm = jaxga.ga(task.init, mutation, parents=PARENTS, children=children)
    return jaxga.vmapped(algorithm, task, chunk)


def parameters(size: str) -> int:
    """Of one network."""
    return parts_of_child(make(size).algorithm).whole


def loopback() -> int:
    """Bytes that have passed through the loopback device."""
    lines = Path("/proc/net/dev").read_text().splitlines()
    return int(next(line for line in lines if line.strip().startswith("lo:")).split()[1])


@contextmanager
def cluster(nodes: int):
    """A head without room for workers, and nodes of one core."""
    os.environ |= {LOOPBACK: "0", "RAY_USAGE_STATS_ENABLED": "0"}
    import ray
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "node_ip_address": "127.0.0.1"}
    found = Cluster(initialize_head=True, head_node_args=head)
    try:
        ray.init(address=found.address, log_to_driver=False, logging_level=logging.ERROR)
        for _ in range(nodes):
            add(found)
        yield found
    finally:
        ray.shutdown()
        found.shutdown()


def add(found: Any) -> None:
    """A node more."""
    found.add_node(num_cpus=1, node_ip_address="127.0.0.1", wait=False)


def run(pool: Pool, generations: int, hook: Callable[..., None] = lambda *_: None) -> jaxga.Result:
    """From the beginning."""
    return jaxga.run(pool.algorithm, pool, 0, generations=generations, hooks=[hook])


def traffic() -> list[dict[str, Any]]:
    """A row for each size and way."""
    rows = []
    with cluster(2):
        for size in SIZES:
            pool = jaxga.pool(partial(make, size))
            run(pool, 2)  # workers come, and compile
            while len(pool.here) < 2:
                run(pool, 1)
            run(pool, 1)
            passed, begun = loopback(), time.monotonic()
            time.sleep(5)
            idle = (loopback() - passed) / (time.monotonic() - begun)
            told, answered, marks = pool.tally.sent, pool.tally.received, list[tuple[int, float]]()
            result = run(pool, 102, lambda *_, marks=marks: marks.append((loopback(), time.monotonic())))
            (first, then), (last, now) = marks[1], marks[-1]
            generations = len(marks) - 2
            rows.append(
                {"way": "Ray, 2 workers", "network": size, "parameters": parameters(size),
                 "told": (pool.tally.sent - told) / 101 / 2, "answered": (pool.tally.received - answered) / 102,
                 "loopback": (last - first - idle * (now - then)) / generations,
                 "ms a generation": 1e3 * (now - then) / generations}
            )  # fmt: skip
            assert result.history["workers"].min() == 2
            pool.close()
    rows += [
        {"way": "gloo, 2 processes", "network": size, "parameters": parameters(size), "told": "", "answered": "",
         **gloo(size)}
        for size in SIZES
    ]  # fmt: skip
    for row in rows:
        row["bytes a child"] = row["loopback"] / CHILDREN
    return rows


def gloo(size: str) -> dict[str, float]:
    """Two processes, of which the second one measures."""
    environment = os.environ | {"JAX_COORDINATOR_ADDRESS": "127.0.0.1:47321", "JAX_NUM_PROCESSES": "2"}
    command = [sys.executable, "-m", "benchmarks.cluster", "--process", size]
    with subprocess.Popen(command, env=environment | {"JAX_PROCESS_ID": "0"}, stdout=subprocess.DEVNULL):
        said = subprocess.run(
            command, env=environment | {"JAX_PROCESS_ID": "1"}, capture_output=True, text=True, check=True, timeout=300
        )
    passed, seconds = said.stdout.split()[-2:]
    return {"loopback": float(passed), "ms a generation": 1e3 * float(seconds)}


def process(size: str) -> None:
    """One of the two: what passes in a generation, while nothing else does."""
    jaxga.use_cores(1)
    distributed.initialize()
    evaluator, marks = make(size), list[tuple[int, float, int]]()
    note = lambda state, _: marks.append((loopback(), time.monotonic(), int(state.generation)))  # noqa: E731
    jaxga.run(evaluator.algorithm, evaluator.task, 0, generations=300, chunk=8, hooks=[note])
    (first, then, early), (last, now, late) = marks[2], marks[-1]
    print((last - first) / (late - early), (now - then) / (late - early))


def chaos(args: Args) -> list[dict[str, Any]]:
    """Undisturbed, then with kills; and whether both ended alike."""
    rows = []
    alone = make("large", 256)
    expected = jaxga.run(alone.algorithm, alone, 0, generations=args.generations)
    for every in (None, args.every):
        with cluster(4) as found:
            pool = jaxga.pool(partial(make, "large", 256), slices=16, patience=10.0)
            run(pool, 2)
            before, victims = asdict(pool.tally), Killer(found, every, args.seed)
            begun = time.monotonic()
            result = run(pool, args.generations, victims)
            seconds = time.monotonic() - begun
            lost = pool.tally.lost - before["lost"]
            jobs = pool.tally.jobs - before["jobs"]
            rows.append(
                {"": "undisturbed" if every is None else f"a kill every {every:g} s", "generations": args.generations,
                 "seconds": seconds, "killed": victims.killed, "slices": jobs, "slices lost": lost,
                 "scored again": lost / jobs, "least workers": int(result.history["workers"].min()),
                 "as one process": alike(result, expected)}
            )  # fmt: skip
    return rows


def alike(one: jaxga.Result, other: jaxga.Result) -> bool:
    """The same survivors, and the same parents to the last bit?"""
    trees = [(result.pedigree.recipes, result.state.parents) for result in (one, other)]
    pairs = zip(*map(jax.tree.leaves, trees), strict=True)
    return all(np.array_equal(here, there) for here, there in pairs)


class Killer:
    """After a generation, when it is time again: one node is killed, all of its processes at once, and one joins."""

    def __init__(self, found: Any, every: float | None, seed: int):
        self.cluster, self.every, self.killed = found, every, 0
        self.random, self.next = random.Random(seed), time.monotonic() + (every or 0)

    def __call__(self, *_: Any) -> None:
        if self.every is None or time.monotonic() < self.next:
            return
        self.next = time.monotonic() + self.every
        victim = self.random.choice(sorted(self.cluster.worker_nodes, key=lambda node: node.unique_id))
        self.cluster.remove_node(victim, allow_graceful=False)
        self.killed += 1
        add(self.cluster)


def scaling() -> dict[str, list[dict[str, Any]]]:
    """Atari on one worker and on two; the head's part; what follows from it."""

    def games() -> jaxga.Rollouts:
        game = tasks.atari("Frostbite", small=True, max_steps=250)
        mutation = variation.low_rank(variation.absolute(0.002))
        algorithm = jaxga.ga(game.init, mutation, parents=4, children=256)
        return jaxga.rollouts(algorithm, game, envs=32, threads=1)

    rows = []
    for workers in (1, 2):
        with cluster(workers):
            pool = jaxga.pool(games, workers=workers, slices=16)
            while len(pool.here) < workers:
                run(pool, 1)
            history = run(pool, 4).history
            speeds = np.diff(history[jaxga.PLAYED]) / np.diff(history["seconds"])
            rows.append({"workers": workers, "steps/s": float(np.median(speeds))})
    for row in rows:
        row["times as fast"] = row["steps/s"] / rows[0]["steps/s"]
    head = seconds_a_slice()
    projected = [
        {"a slice takes": f"{seconds:g} s", "head, ms a slice": 1e3 * head,
         **{f"{workers} workers": f"{efficiency(workers, seconds, head):.0%}" for workers in FLEET},
         "head is the limit from": round(seconds / head)}
        for seconds in SLICE_SECONDS
    ]  # fmt: skip
    return {"games": rows, "projection": projected}


def seconds_a_slice() -> float:
    """Of the head's time: to hand out a slice, and to take in what it brought, with two workers that have little to do.

    What a generation takes beside its slices (selection, the next parents) is left out by having few of them and many.
    """
    found = []
    for slices in (8, 256):
        with cluster(2):
            pool = jaxga.pool(partial(make, "small", 512, 2), slices=slices)
            while len(pool.here) < 2:
                run(pool, 1)
            taken = list[float]()
            begun = time.process_time()

            def note(*_: Any) -> None:
                nonlocal begun
                taken.append(time.process_time() - begun)  # noqa: B023
                begun = time.process_time()

            run(pool, 20, note)
            found.append(float(np.median(taken[2:])))
    return (found[1] - found[0]) / (256 - 8)


def efficiency(workers: int, seconds: float, head: float, slices: int = 4) -> float:
    """Of workers in a generation of so many slices each: the head hands out and takes in one after the other."""
    free, ends = 0.0, [0.0] * workers
    for number in range(workers * slices):
        who = number % workers
        free += head
        ends[who] = max(ends[who], free) + seconds
    return workers * slices * seconds / (workers * max(ends))


def main(args: Args) -> None:
    if args.process:
        return process(args.process)
    found: dict[str, Any] = {}
    if "traffic" in args.parts:
        found["traffic"] = traffic()
        report.print_table(found["traffic"], f"Bytes a generation, {CHILDREN} children of {PARENTS} parents")
    if "chaos" in args.parts:
        found["chaos"] = chaos(args)
        report.print_table(found["chaos"], "Four nodes of one core, on the cores of this machine")
    if "scaling" in args.parts:
        found["scaling"] = scaling()
        report.print_table(found["scaling"]["games"], "Atari, small network, workers of one core")
        report.print_table(found["scaling"]["projection"], "Projected: how busy are workers, four slices each?")
    if args.out:
        report.write_json(args.out, {"machine": describe_machine(), **found})
    return None


if __name__ == "__main__":
    report.run_command(main, Args)
