"""The command `jaxga`: look into a run, compare runs, export the best network, rebuild a run, look at this machine."""

import importlib.metadata
import importlib.util
import itertools
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import fields
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import tyro

from jaxga import checkpoint, genome, pedigree
from jaxga import dashboard as pages
from jaxga.base import InputError, State, require
from jaxga.devices import free_memory
from jaxga.pedigree import Pedigree
from jaxga.report import Curve, describe_machine, median_interval, plot_curves, plot_family, print_table
from jaxga.report.command import as_arguments
from jaxga.report.reading import Found, as_text, read
from jaxga.run import best_slot
from jaxga.tree import named_leaves, take

BLOCKS = " ▁▂▃▄▅▆▇█"
LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "envpool", "gymnax", "ray")
Run = Annotated[Path, tyro.conf.Positional]


def main(argv: list[str] | None = None) -> None:
    """Run one of the subcommands. Bad input is one sentence on stderr, and exit code 2."""
    known = inspect, compare, dashboard, export, replay, doctor
    commands = {command.__name__: command for command in known}
    try:
        tyro.extras.subcommand_cli_from_dict(commands, prog="jaxga", description=__doc__, args=argv)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def inspect(run: Run, metric: str | None = None) -> None:
    """What ran, how it went, and what it cost.

    Args:
      run: directory of a run, or of a series of seeds.
      metric: column of metrics.jsonl that is drawn; by default best_fitness, or the first one of a run without it.

    Raises:
      InputError: if there is no run, or its files are damaged.
    """
    found = read(run)
    print(f"{found.name}, {run}")
    _say(found.machine)
    _say({"arguments": _short(found.config.get("arguments", {}))})
    if not found.over:
        print("It has not ended: it goes on elsewhere, or was interrupted.")
    _say({name: value for name, value in found.facts.items() if name != "name"})
    for name, rows in found.summary.items():
        if _is_table(rows):
            print_table(rows, name)
    for one in found.runs:
        if one.history:
            print()
            drawn = metric or _first_metric(one)
            print(draw(one.column(drawn), f"{drawn}{_of_seed(one, found)}"))
            _say(_development(one))
    for picture in sorted(run.glob("*.png")):
        print(f"picture: {picture}")


def compare(
    runs: Annotated[list[Path], tyro.conf.Positional], metric: str = "best_fitness", out: Path = Path("compare.png")
) -> None:
    """A table and a picture of several runs; seeds of a series give a median with its 95 % interval.

    Args:
      runs: directories of runs, or of series of seeds.
      metric: column of metrics.jsonl.
      out: picture of the metric against generations.

    Raises:
      InputError: if there are fewer than two runs, a directory holds no run or a run without generations, or a run has
        no such metric.
    """
    require(len(runs) > 1, "compare needs two runs or more: name their directories.")
    found = [read(path) for path in runs]
    rows, curves = [], []
    for series in found:
        values = [run.column(metric) for run in series.runs]
        shortest = min(map(len, values))
        require(shortest > 0, f"{series.path} has no generation yet.")
        at_end = median_interval(np.array([column[-1] for column in values]))
        seconds = [run.history["seconds"][-1] for run in series.runs if "seconds" in run.history]
        rows.append({
            "run": str(series.path),
            f"{metric} at the end": str(at_end) if len(values) > 1 else f"{at_end.median:.4g}",
            "generations": int(np.median([len(column) for column in values])),
            "seconds": float(np.median(seconds)) if seconds else np.nan,
        })  # fmt: skip
        together = np.array([column[:shortest] for column in values])
        curves.append(Curve(str(series.path), np.arange(1, shortest + 1), together))
    print_table(rows)
    plot_curves([({"xlabel": "generation", "ylabel": metric.replace("_", " ")}, curves)], out)
    print(f"picture: {out}")


def dashboard(run: Run, out: Path | None = None, live: bool = False) -> None:
    """Write one page about a run: curves, step sizes, family tree, diversity, speed.

    Args:
      run: directory of a run, or of a series of seeds.
      out: the page; by default dashboard.html in that directory.
      live: write it again every ten seconds until the run has ended. A browser that shows it loads it again.

    Raises:
      InputError: if there is no run, or its files are damaged.
    """
    print(f"page: {pages.follow(run, out) if live else pages.write(run, out)}")


def export(run: Run, file: Annotated[Path, tyro.conf.Positional], script: Path | None = None) -> None:
    """Write the best network of a run for use without jaxga.

    It is the best parent of the newest checkpoint. With --script it may be the individual with the best score of all
    generations, as its genome.

    Args:
      run: directory of a run.
      file: `.safetensors` or `.npz` for the weights by their paths; a name without ending for an orbax checkpoint;
        `.json` for a genome, which needs --script.
      script: the experiment that made the run, to rebuild its algorithm.

    Raises:
      InputError: if the directory does not hold a single run of `jaxga.run`, a genome is asked for without ``script``,
        the script does not fit the run, ``file`` has another ending, or an orbax checkpoint of that name exists.
    """
    found = _single(read(run))
    if file.suffix == ".json":
        if script is None:
            raise InputError("a genome needs the algorithm that decodes it: pass --script, the experiment of this run.")
        rebuilt = _rebuilt(found, script)
        algorithm, recorded, state = rebuilt.algorithm, rebuilt.pedigree, rebuilt.state
        born, index = int(state.best.generation), int(state.best.index)
        genome.save(genome.genome_of(algorithm, recorded, born, index), file)
        print(f"{file}: the genome of child {index} of generation {born}, fitness {float(state.best_fitness):.6g}")
        return
    require("run" in found.config, f"{found.path} is no run of jaxga.run, so it has no parents to export.")
    state = checkpoint.restore(found.path / "checkpoints").state
    slot = int(best_slot(found.config["run"].get("ordered", False), state.fitness))
    params = take(state.parents, slot).params
    about = {"run": found.name, "generation": str(int(state.generation)), "fitness": str(float(state.fitness[slot]))}
    leaves = {name: np.asarray(leaf) for name, leaf in named_leaves(params).items()}
    if file.suffix == ".safetensors":
        from safetensors.numpy import save_file

        save_file(leaves, str(file), about)
    elif file.suffix == ".npz":
        np.savez(file, allow_pickle=False, **leaves)
    else:
        require(not file.suffix, f"file is {file}: end it in .safetensors, .npz or .json, or in nothing for orbax.")
        require(not file.exists(), f"{file} is there already: choose another name.")
        checkpoint.save_params(file, params)
    numbers = sum(leaf.size for leaf in leaves.values())
    print(f"{file}: parent {slot} of generation {about['generation']}, {numbers:,} weights in {len(leaves)} arrays, "
          f"fitness {about['fitness']}")  # fmt: skip


def replay(run: Run, script: Path, last: int = 10) -> None:
    """Rebuild the parents of a run from its pedigree, compare them with its checkpoint, and show the best one.

    Its ancestors are listed, and the family tree of the run is drawn. If the script has a function
    ``show(args, task, params, directory) -> Path``, it is called with the best parent's parameters, and draws or films
    what that network does.

    Args:
      run: directory of a run. The pictures are written there.
      script: the experiment that made it, such as experiments/memorization.py.
      last: ancestors that are listed.

    Raises:
      InputError: if the directory does not hold a single run of `jaxga.run`, or the script does not fit the run.
    """
    found = _single(read(run))
    rebuilt = _rebuilt(found, script)
    algorithm, recorded, state = rebuilt.algorithm, rebuilt.pedigree, rebuilt.state
    parents = pedigree.replay(algorithm, recorded).parents
    same = jax.tree.map(lambda one, other: bool((one == other).all()), *map(jax.tree.leaves, (parents, state.parents)))
    verdict = "are those of the checkpoint, bit for bit" if all(same) else "are NOT those of the checkpoint"
    print(f"{recorded.generations} generations were replayed; their parents {verdict}.")
    slot = int(best_slot(algorithm.selection.ordered, state.fitness))
    lineage = pedigree.ancestors(algorithm, recorded, slot)
    rows = [ancestor._asdict() | _scored(ancestor.fitness) for ancestor in itertools.islice(lineage, last)]
    if rows:
        print_table(rows, "ancestors, youngest first")
    family = pedigree.parents_of(algorithm, recorded)[:, :, 0]
    if family.size and algorithm.parents > 1:
        plot_family(family, path=found.path / "family.png", title=f"{found.name}: who descends from whom")
        print(f"picture: {found.path / 'family.png'}")
    if rebuilt.show is not None:
        print(f"picture: {rebuilt.show(rebuilt.args, rebuilt.task, take(parents, slot).params, found.path)}")
    if not all(same):
        sys.exit(1)


def doctor() -> None:
    """Versions, devices, memory, and whether an accelerator is used."""
    _say({name: value for name, value in describe_machine().items() if name not in ("backend", "device")})
    _say({name: _version(name) for name in LIBRARIES})
    for device in jax.devices():
        print(f"device {device.id}: {device.device_kind} ({device.platform})")
    print(f"free memory: {free_memory() / 1e9:.1f} GB")
    idle = jax.default_backend() == "cpu" and (shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists())
    if idle:
        print("A GPU is there, and JAX does not use it: pip install 'jaxga[gpu]', and unset JAX_PLATFORMS.")
    elif jax.default_backend() == "cpu":
        print("No GPU was found; networks are evolved on the CPU. jaxga.use_cores() makes every core a device.")


class Rebuilt(NamedTuple):
    """A run with what its script made of its arguments."""

    args: Any
    task: Any
    algorithm: Any
    pedigree: Pedigree
    state: State
    show: Callable[[Any, Any, Any, Path], Path] | None  # of the script


def _rebuilt(found: Found, script: Path) -> Rebuilt:
    """The algorithm of a run, made again by its script from its arguments."""
    require(script.is_file(), f"script is {script}, which is no file.")
    sys.path.insert(0, str(script.parent))
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module  # dataclasses look themselves up
    spec.loader.exec_module(module)
    require(
        hasattr(module, "Args") and hasattr(module, "make") and _takes_one(module.make),
        f"{script} has no Args and make(args), by which its algorithm could be made again.",
    )
    known = {field.name for field in fields(module.Args)}
    unknown = sorted(found.config.get("arguments", {}).keys() - known)
    require(not unknown, f"{script} is not the script of this run ({found.name}): it has no {', '.join(unknown)}.")
    if found.config["arguments"].get("quick"):  # it was compiled so, and other programs round otherwise
        jax.config.update("jax_disable_most_optimizations", True)
    args = as_arguments(module.Args, found.config["arguments"], found.path)
    task, algorithm = module.make(args)
    file = found.path / "pedigree.npz"
    require(file.exists(), f"{found.path} has no pedigree.npz yet: it is written when a run ends.")
    state = checkpoint.restore(found.path / "checkpoints").state
    return Rebuilt(args, task, algorithm, pedigree.load(file), state, getattr(module, "show", None))


def _scored(fitness: float) -> dict[str, Any]:
    """What stands in a table; a mean of several children has not been scored."""
    return {"fitness": "a mean, not scored" if np.isnan(fitness) else fitness}


def _takes_one(function: Any) -> bool:
    """Can it be called with one argument?"""
    needed = [value for value in signature(function).parameters.values() if value.default is value.empty]
    return len(needed) == 1


def draw(values: np.ndarray, title: str, width: int = 72, height: int = 8) -> str:
    """A curve as text, from left to right. If several values share a column, their mean is drawn.

    Args:
      values: ``[G]``; values that are not finite are left out.
      title: the first line.
      width: number of columns, by default 72.
      height: number of lines, by default 8.

    >>> print(draw(np.array([0.0, 1.0, 2.0, 3.0]), "rising", width=4, height=2))
    rising
             3   ▃█
             0  ▅██
               1  4
    """
    finite = np.isfinite(values)
    if not finite.any():
        return f"{title}: no finite value"
    columns = [part[np.isfinite(part)] for part in np.array_split(values, min(width, len(values)))]
    points = np.array([part.mean() if part.size else np.nan for part in columns])
    low, high = np.nanmin(points), np.nanmax(points)
    eighths = np.nan_to_num(np.rint((points - low) / ((high - low) or 1) * height * 8), nan=0).astype(int)
    rows = []
    for row in reversed(range(height)):
        label = f"{high:.4g}" if row == height - 1 else f"{low:.4g}" if row == 0 else ""
        rows.append(f"{label:>10} " + "".join(BLOCKS[max(0, min(8, number - 8 * row))] for number in eighths))
    last = str(len(values))
    axis = " " * 11 + "1" + f"{last:>{max(len(points) - 1, len(last) + 1)}}"
    return "\n".join([title, *rows, axis])


def _first_metric(run: Found) -> str:
    """The best fitness; of a run without it the first column that is no count and no clock."""
    others = [name for name in run.history if name not in ("generation", "seconds", "steps", "evaluations")]
    return "best_fitness" if "best_fitness" in run.history else (others or [*run.history])[0]


def _development(run: Found) -> dict[str, Any]:
    """How step sizes changed, and how far a run has come that goes on."""
    history = run.history
    told = {
        name: f"{values[np.isfinite(values)][0]:.4g} at first, {values[np.isfinite(values)][-1]:.4g} at last"
        for name, values in history.items()
        if "step_size" in name and np.isfinite(values).any()
    }
    if run.over:
        return told
    seconds = history.get("seconds", np.array([np.nan]))[-1]
    return {"generations so far": len(next(iter(history.values()))), "seconds": round(float(seconds), 1)} | told


def _of_seed(one: Found, found: Found) -> str:
    return f", {one.path.name}" if one is not found else ""


def _single(found: Found) -> Found:
    """The run itself; of a series the one that it has."""
    runs = found.runs
    names = ", ".join(str(run.path) for run in runs)
    require(len(runs) == 1, f"{found.path} is a series of {len(runs)} runs: name one of {names}.")
    return runs[0]


def _short(arguments: dict[str, Any]) -> str:
    kept = {name: value for name, value in arguments.items() if value is not None and name not in ("out", "resume")}
    return ", ".join(f"{name} {value}" for name, value in kept.items())


def _is_table(rows: Any) -> bool:
    """Is it a list of dicts with the same keys?"""
    dicts = isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows)
    return bool(dicts) and all(row.keys() == rows[0].keys() for row in rows)


def _say(facts: dict[str, Any]) -> None:
    """A line each, values below each other."""
    shown = as_text(facts)
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        print(f"  {name:{width}}  {value}")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
