"""Many runs at once: seeds x step sizes x anything, as one program, and what they say together."""

import itertools
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from jaxga.base import (
    Algorithm,
    InputError,
    Key,
    State,
    Task,
    Verdict,
    as_key,
    require,
    require_at_least,
    require_whole,
)
from jaxga.compilation import jit
from jaxga.devices import RUNS, Devices, chosen, mesh
from jaxga.evaluate import together, vmapped
from jaxga.evaluate.vmapped import largest_divisor
from jaxga.pedigree import Pedigree
from jaxga.report.files import RunDirectory
from jaxga.report.plots import Curve, plot_curves
from jaxga.report.progress import Progress
from jaxga.report.statistics import Interval, median_interval
from jaxga.run import BEST_VALIDATION, Program, Result, generation, run
from jaxga.signals import Interrupted
from jaxga.stop import never
from jaxga.tree import in_one, in_parts, iota

Make = Callable[..., Algorithm | tuple[Algorithm, Task]]


@dataclass(frozen=True)
class Runs:
    """R runs of G generations: the settings of each run, and the metrics of each generation."""

    settings: dict[str, np.ndarray]  # [R] each, including the seed
    metrics: dict[str, np.ndarray]  # [R, G] each
    seconds: float  # wall-clock time for all runs together, including compilation
    pedigrees: tuple[Pedigree, ...] = ()  # [R], if `run_many` was asked to keep them; `save` does not write them

    def table(self, generation: int = -1) -> dict[str, np.ndarray]:
        """A table with one row for each run: its settings, and its metrics at ``generation`` (by default the last).

        ``pandas.DataFrame(runs.table())`` makes a data frame of it.
        """
        return self.settings | {name: values[:, generation] for name, values in self.metrics.items()}

    def long_table(self) -> dict[str, np.ndarray]:
        """A table with one row for each generation of each run."""
        runs, generations = next(iter(self.metrics.values())).shape
        settings = {name: np.repeat(values, generations) for name, values in self.settings.items()}
        numbers = {"generation": np.tile(np.arange(generations), runs)}
        return settings | numbers | {name: values.ravel() for name, values in self.metrics.items()}

    def groups(self) -> list[tuple[dict[str, Any], np.ndarray]]:
        """All combinations of settings except the seed, in the order of runs, each with a mask ``[R]`` of its runs."""
        names = [name for name in self.settings if name != "seed"]
        columns = [self.settings[name].tolist() for name in names]
        rows = [tuple(column[run] for column in columns) for run in range(len(self.settings["seed"]))]
        distinct = dict.fromkeys(rows)
        return [(dict(zip(names, row, strict=True)), np.array([other == row for other in rows])) for row in distinct]

    def summary(self, metric: str = "best_fitness", generation: int = -1) -> list[dict[str, Any]]:
        """The median of a metric over seeds with its confidence interval, one row for each combination of settings.

        Args:
          metric: its name, by default the best fitness.
          generation: by default the last.
        """
        rows = []
        for setting, mask in self.groups():
            interval: Interval = median_interval(self.metrics[metric][mask, generation])
            ends = {"low": float(interval.low), "high": float(interval.high), "seeds": interval.samples}
            rows.append({**setting, metric: float(interval.median), **ends})
        return rows

    def save(self, path: str | Path) -> None:
        """Write settings, metrics and seconds to one ``.npz`` file, which `load_runs` reads."""
        arrays = in_one({"settings": self.settings, "metrics": self.metrics})
        np.savez_compressed(path, allow_pickle=False, seconds=self.seconds, **arrays)

    def plot(self, path: str | Path | None = None, metric: str = "best_fitness", **properties: Any) -> Any:
        """Plot the median over seeds and their range against generations, one line for each combination of settings.

        Args:
          path: where to save the figure; by default it is only returned.
          metric: its name, by default the best fitness.
          properties: of the axes, such as ``yscale="log"``.
        """
        x = np.arange(1, self.metrics[metric].shape[1] + 1)
        curves = [
            Curve(
                ", ".join(f"{name} {_short(value)}" for name, value in setting.items()), x, self.metrics[metric][mask]
            )
            for setting, mask in self.groups()
        ]
        return plot_curves([({"xlabel": "generation", "ylabel": metric.replace("_", " "), **properties}, curves)], path)


def load_runs(path: str | Path) -> Runs:
    """Read what `Runs.save` wrote."""
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        parts = in_parts(file)
        return Runs(parts["settings"], parts["metrics"], float(file["seconds"]))


def join_runs(parts: Sequence[Runs]) -> Runs:
    """Join runs that have the same names of settings and the same number of generations.

    Metrics that only some of them have are NaN for the others.
    """
    measured = dict.fromkeys(name for part in parts for name in part.metrics)
    nothing = [np.full(next(iter(part.metrics.values())).shape, np.nan, np.float32) for part in parts]
    return Runs(
        settings={name: np.concatenate([part.settings[name] for part in parts]) for name in parts[0].settings},
        metrics={
            name: np.concatenate([part.metrics.get(name, gap) for part, gap in zip(parts, nothing, strict=True)])
            for name in measured
        },
        seconds=sum(part.seconds for part in parts),
        pedigrees=tuple(one for part in parts for one in part.pedigrees),
    )


def run_seeds(
    algorithm: Algorithm,
    task: Task,
    name: str,
    arguments: dict[str, Any],
    out: Path,
    *,
    resume: bool = False,
    **options: Any,
) -> list[Result]:
    """Call `run` for several seeds, one after another, with files and a progress bar.

    Args:
      algorithm: from `jaxga.ga`.
      task: as for `run`.
      name: of the experiment, for config.json.
      arguments: of the experiment, for config.json. ``arguments["seed"]`` is the first seed, ``arguments["seeds"]``
        the number of seeds.
      out: the directory. A single seed writes into it, several seeds into ``seed-N`` below it.
      resume: continue a series that was interrupted, by default False.
      options: of `run`.

    Raises:
      InputError: as `run`.
      Interrupted: when Ctrl-C ended the series; with ``resume`` the interrupted run continues.
    """
    first, count = arguments["seed"], arguments["seeds"]
    least = {
        name: options[name] for name in ("generations", "validate_every", "chunk") if options.get(name) is not None
    }
    require_whole(1, seeds=count, **least)  # before anything is written
    require_at_least(0, seconds=options.get("seconds", 0))
    if count > 1:
        RunDirectory(out, name, arguments, resume)
    results: list[Result] = []
    for seed in range(first, first + count):
        path = out if count == 1 else out / f"seed-{seed}"
        directory = RunDirectory(path, name, arguments | {"seed": seed, "seeds": 1}, resume)
        progress = Progress(f"seed {seed}")
        try:
            results.append(run(algorithm, task, seed, directory=directory, progress=progress, **options))
        except Interrupted as stopped:
            raise Interrupted(stopped.result, out) from stopped
    return results


def run_many(
    make: Make,
    task: Task | None = None,
    key: Key | int = 0,
    *,
    generations: int,
    seeds: int = 5,
    sweep: Mapping[str, Sequence[float]] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    chunk: int | None = None,
    validate_every: int = 1,
    batch: int | None = None,
    devices: Devices | None = None,
    pedigrees: bool = False,
) -> Runs:
    """Run an algorithm for every combination of settings and seeds, many runs in one program.

    Args:
      make: ``(**settings) -> Algorithm``, or ``-> (Algorithm, Task)`` if settings change the task. If there is a
        ``sweep``, ``make`` is called with tracers for swept settings; create tasks outside of it then.
      task: scored by `jaxga.evaluate.vmapped`; None if ``make`` returns the task.
      key: root key or seed, by default 0. Run r of each combination has the root key ``fold_in(key, r)``.
      generations: G, for every run. There are no stop rules here.
      seeds: number of runs for each combination of settings, by default 5.
      sweep: settings that are numbers and may be traced, such as ``{"sigma": [0.01, 0.02]}``. All combinations are
        computed by one vmapped program.
      grid: settings that change shapes or functions, such as ``{"parents": [1, 8]}``. Each combination is compiled to
        a program of its own.
      chunk: number of children of one run that are scored at once, see `jaxga.vmapped`.
      validate_every: number of generations between two calls of `Task.validate` for the best parent; the metrics are
        NaN in between. By default 1.
      batch: number of runs at once on a device, by default all runs of a program. 1 saves memory, and also time if a
        single run keeps the device busy.
      devices: the devices, or their number; by default all. They share the runs, and if there are fewer runs than
        devices, also the children of each run. The number of runs at once on a device may change the last bit of
        results. Give ``batch`` if they must be the same on any number of devices.
      pedigrees: keep the pedigree of every run, for `jaxga.analysis`, by default False. Analyse a run with the
        algorithm that ``make`` returns for its settings.

    Returns:
      `Runs`, with settings and metrics, but without the final weights.

    Raises:
      InputError: for sizes that do not fit, a setting without values, or a missing task.

    Warns:
      RuntimeWarning: if every fitness of a generation is NaN or minus infinity in some run.

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> task = jaxga.Task(lambda key: jnp.ones(3), lambda key, w: jaxga.Evaluation(-jnp.sum(w**2)))
    >>> make = lambda parents, sigma: jaxga.ga(task.init, gaussian(absolute(sigma)), parents=parents, children=8)
    >>> runs = run_many(make, task, generations=10, seeds=5, sweep={"sigma": [0.01, 0.1]}, grid={"parents": [1, 4]})
    >>> [(row["parents"], round(row["sigma"], 2)) for row in runs.summary()]
    [(1, 0.01), (1, 0.1), (4, 0.01), (4, 0.1)]
    """
    require_whole(1, generations=generations, seeds=seeds, batch=batch or 1, validate_every=validate_every)
    sweep, grid = dict(sweep or {}), dict(grid or {})
    for name, values in (sweep | grid).items():
        require(len(values) > 0, f"{name} has no values to try: give it at least one.")
    root = as_key(key)
    swept = list(itertools.product(*sweep.values()))
    lanes = [(seed, *values) for values in swept for seed in range(seeds)]
    columns = {name: np.array(column) for name, column in zip(["seed", *sweep], zip(*lanes, strict=True), strict=True)}
    keys = jax.vmap(partial(jax.random.fold_in, root))(columns["seed"])
    traced = {name: _as_single(columns[name]) for name in sweep}
    parts, begun = [], time.monotonic()
    for values in itertools.product(*grid.values()):
        fixed = dict(zip(grid, values, strict=True))

        # Outside the program if possible: data that a task creates within a program would be part of the program.
        whole = None if sweep else make(**fixed)

        def one(
            lane: tuple[Key, dict[str, jax.Array]], count: int, fixed: Any = fixed, whole: Any = whole
        ) -> tuple[dict[str, jax.Array], jax.Array, Any]:
            made = whole or make(**fixed, **lane[1])
            algorithm, solved = (made, task) if isinstance(made, Algorithm) else made
            if solved is None:
                raise InputError("task is None, and make returned no task either: pass it here or there.")
            evaluator = together(vmapped(algorithm, solved, chunk), count)
            program = Program(algorithm, evaluator, never, solved.validate, validate_every)
            metrics, verdicts, record = _curve(program, lane[0], generations)
            clash = sorted({"seed", *fixed, *lane[1]} & metrics.keys())
            require(not clash, f"{clash} are arguments of make, or the seed, and metrics too: rename the metrics.")
            return metrics, verdicts, (*record, jnp.int32(algorithm.children)) if pedigrees else ()

        metrics, verdicts, records = _share_out(one, (keys, traced), batch, devices)
        settings = {name: _column(value, len(lanes)) for name, value in fixed.items()} | columns
        columns_of_run = jax.device_get(metrics)
        _check_verdicts(np.asarray(verdicts), columns_of_run["fitness"], fixed)
        if BEST_VALIDATION in columns_of_run:
            columns_of_run[BEST_VALIDATION] = np.fmax.accumulate(columns_of_run[BEST_VALIDATION], axis=1)
        kept = _pedigrees(keys, jax.device_get(records), settings) if pedigrees else ()
        parts.append(Runs(settings, columns_of_run, time.monotonic() - begun, kept))
        begun = time.monotonic()
    return join_runs(parts)


def _share_out(one: Callable[..., Any], lanes: Any, batch: int | None, devices: Devices | None) -> Any:
    """``one(lane, count)`` for every lane (a run), computed by ``count`` devices together.

    ``count`` is above 1 only if there are more devices than lanes. Otherwise each device computes a share of the lanes,
    ``batch`` of them at once.
    """
    many = jax.tree.leaves(lanes)[0].shape[0]
    devices = chosen(devices)
    if len(devices) == 1:
        return jit(partial(jax.lax.map, partial(one, count=1), batch_size=batch or many))(lanes)
    count = largest_divisor(len(devices), max(len(devices) // many, 1))
    across = mesh(devices, len(devices) // count)
    share = -(-many // across.shape[RUNS])

    def part(lanes: Any) -> Any:
        mine = (jax.lax.axis_index(RUNS) * share + iota(share)) % many  # if it is uneven, some are computed twice
        mine = jax.tree.map(lambda leaf: leaf[mine], lanes)
        done = jax.lax.map(partial(one, count=count), mine, batch_size=min(batch or share, share))
        return jax.tree.map(partial(jax.lax.all_gather, axis_name=RUNS, tiled=True), done)

    whole = jax.shard_map(part, mesh=across, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False)
    return jax.tree.map(lambda leaf: leaf[:many], jax.device_get(jit(whole, across)(lanes)))


def _curve(program: Program, key: Key, generations: int) -> tuple[dict[str, jax.Array], jax.Array, Any]:
    """The metrics ``[G]`` of one run, its verdicts, and its recipes with the fitness of its parents."""

    def step(state: State, number: Any) -> tuple[State, Any]:
        state, info, verdict = generation(program, state, number)
        return state, (info.metrics | {"best_fitness": state.best_fitness}, verdict, (info.recipe, info.fitness))

    state = program.begin(key)
    numbers = iota(generations)
    if not state.founding:
        return jax.lax.scan(step, state, numbers)[1]
    state, first = step(state, numbers[0])  # a program of its own
    _, rest = jax.lax.scan(step, state, numbers[1:])
    return jax.tree.map(lambda one, others: jnp.concatenate([one[None], others]), first, rest)


def _pedigrees(keys: Key, records: Any, settings: Mapping[str, np.ndarray]) -> tuple[Pedigree, ...]:
    """The pedigree of each run, from recipes and fitness ``[R, G, ...]`` and the numbers of children ``[R]``."""

    def of_run(run: int) -> Pedigree:
        recipes, fitness, children = jax.tree.map(lambda leaf: leaf[run], records)
        return Pedigree(keys[run], recipes, fitness, {"seed": int(settings["seed"][run])}, int(children))

    return tuple(of_run(run) for run in range(len(keys)))


def _check_verdicts(verdicts: np.ndarray, fitness: np.ndarray, fixed: Mapping[str, Any]) -> None:
    """Warn of generations that are not valid, from verdicts and fitness ``[R, G]``."""
    where = f" with {dict(fixed)}" if fixed else ""
    require(
        not (verdicts == Verdict.OUT_OF_RANGE).any(),
        f"the selection chose an index{where} that nobody has: indices go from 0 to evaluation.fitness.size - 1.",
    )
    failed = {"NaN": verdicts == Verdict.NO_FITNESS, "minus infinity": fitness == -np.inf}
    for what, lost in failed.items():
        if lost.any():
            warnings.warn(
                f"every fitness of a generation was {what} in {lost.any(axis=1).sum()} of {len(lost)} runs{where}, "
                f"first in generation {np.flatnonzero(lost.any(axis=0))[0]}: those runs learned nothing in it.",
                RuntimeWarning, stacklevel=3,
            )  # fmt: skip


def _as_single(values: np.ndarray) -> jax.Array:
    """Numbers of a sweep in 32 bits, even if JAX computes in 64."""
    kinds = {np.floating: jnp.float32, np.integer: jnp.int32}
    return jnp.asarray(values, next((to for kind, to in kinds.items() if np.issubdtype(values.dtype, kind)), None))


def _column(value: Any, rows: int) -> np.ndarray:
    """A column with the same value in every row; values other than numbers and strings are objects."""
    column = np.empty(rows, object)
    column[:] = [value] * rows
    return column if not isinstance(value, int | float | str) else np.array([value] * rows)


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
