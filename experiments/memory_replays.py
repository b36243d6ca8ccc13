"""Two observations of the notes about memories, explained by runs that are replayed.

* last_point: with 63 of 64 right, how often does a mutation of each head mend the last point and break none? How often
  is such a head drawn, and do these chances give the generations that the runs waited?
* closeness: why do heads come to lie further from the points, where a gene replaces a head whatever was there?
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import experiment
import jax
import jax.numpy as jnp
import memory_region as region
import numpy as np
from memory_region import CLASSES, DIMENSION, Chances, Rows, chances, runs_of, when
from scipy.stats import norm

import jaxga
from jaxga import analysis, memory, pedigree, report, tasks, variation
from jaxga.tree import take

Question = Literal["last_point", "closeness"]
MOMENTS = 8  # of the wait for the last point, at which all parents are measured


@experiment.own_first
@dataclass
class Args(region.Args):
    question: Question = "last_point"
    """last_point: why the last point waits. closeness: why it falls."""
    draws: int = 65_536
    """New directions that are tried for every head of a parent; a 32nd of it where all 16 parents are measured."""
    out: Path | None = None
    """Where the figures and the picture go; default runs/memory_replays/<id>."""
    quick: bool = False
    """A small one that takes seconds: few points and generations, one arm."""


@partial(jax.jit, static_argnames=("draws", "turns"))
def completes(parents: Any, points: jax.Array, labels: jax.Array, draws: int, turns: bool) -> jax.Array:
    """The chance that a child of one of these parents has all points right."""
    return jnp.mean(jax.lax.map(lambda own: chances(own, points, labels, draws, turns).complete, parents))


class Wait(NamedTuple):
    """One run's wait for the last point."""

    first: Any  # the best parent when it first has one point wrong
    chances: Chances  # its own
    waited: int  # generations from then on until all points are right, or to the end of the run
    solved: bool
    due: float  # so many children with all points right were to be expected in that time


def wait_of(args: Args, algorithm: jaxga.Algorithm, record: Any, turns: bool) -> Wait | None:
    """None for a run that never has just one point wrong."""
    data = tasks.noise(args.points, (DIMENSION,), CLASSES)
    begin, end = when(args, record, args.points - 1), when(args, record, args.points)
    stop = min(end, record.generations)
    if begin >= stop:
        return None
    source, share, first = pedigree.begin(algorithm, record), [], None
    for at in np.unique(np.linspace(begin, stop - 1, MOMENTS).astype(int)):
        source = pedigree.forward(algorithm, record, source, int(at))
        first = take(source.parents.params, 0) if first is None else first
        share.append(float(completes(source.parents.params, *data, max(args.draws // 32, 1), turns)))
    own = jax.device_get(chances(first, *data, args.draws, turns))
    return Wait(
        first, own, stop - begin, end <= record.generations, (stop - begin) * args.children * float(np.mean(share))
    )


def one_in(shares: Any) -> str:
    """How rare something is, for a table."""
    return experiment.told(1 / np.maximum(shares, 1e-12), 3, "g")


def last_point(args: Args, out: Path) -> dict[str, Rows]:
    """Where one point is wrong: the chances of each head, what they predict, and how long the runs waited."""
    arms = {"turn": (memory.turn, True), "replace": (memory.replace, False)}
    columns, panels, parents = {}, [], []
    for name, (change, turns) in list(arms.items())[: 1 if args.quick else None]:
        for heads in (args.points,) if args.quick else (args.points, 2 * args.points):
            algorithm, records = runs_of(args, change, heads, close=turns)
            found = [wait_of(args, algorithm, record, turns) for record in records]
            waits = [wait for wait in found if wait is not None]
            if not waits:
                continue
            own: Any = jax.tree.map(lambda *parts: np.stack(parts), *(wait.chances for wait in waits))
            free, solved = own.free.sum(axis=1), [wait.waited for wait in waits if wait.solved]
            of_free = (own.labelled * own.free).sum(axis=1) / np.maximum(free, 1)
            total, due = sum(wait.waited for wait in waits), sum(wait.due for wait in waits)
            columns[f"{name}, {heads} heads"] = {
                "draws of one head a generation": f"{args.children / heads:g}",
                "heads that are free to change": experiment.told(free, 0),
                "draws of a free head a generation": experiment.told(args.children * free / heads, 1),
                "its direction suits some label, 1 in": one_in(of_free),
                "any mutation mends the last point, 1 in": one_in(own.mends.mean(axis=1)),
                "and breaks none, 1 in": one_in(own.harmless.mean(axis=1)),
                "generations, by the first parent": one_in(args.children * own.harmless.mean(axis=1)),
                "... if its best head alone were drawn": one_in(args.children * own.harmless.max(axis=1)),
                "generations, by all parents of the wait": f"{total / max(due, 1e-12):.0f}",
                "generations waited, for each solution": f"{total / len(solved):.0f}" if solved else "-",
                "median of those that were solved": experiment.told(solved, 0) if solved else "-",
                "solved, of runs that waited": f"{len(solved)} of {len(waits)}",
            }  # fmt: skip
            axes = {"title": f"{name}, {heads} heads", "xlabel": "head, by its chance", "yscale": "log"}
            curves = [
                report.Curve(label, np.arange(1, heads + 1), np.sort(values, axis=1)[:, ::-1] + 1 / args.draws)
                for label, values in (("mends the last point", own.mends), ("and breaks none", own.harmless))
            ]
            panels.append((axes | {"ylabel": "chance of a mutation"}, curves))
            parents += [wait.first for wait in waits] if turns and heads == args.points else []
    jaxga.require(len(panels) > 0, f"no run had one point wrong in {args.generations} generations: give them more.")
    report.plot_curves(panels, out / "last_point.png", f"one point wrong: the chance of each head, {args.seeds} seeds")
    keys = next(iter(columns.values()))
    rows = [{"": key, **{name: column[key] for name, column in columns.items()}} for key in keys]
    return {"waiting": rows, **({"all heads at once, by the same parents": at_once(args, parents)} if parents else {})}


def at_once(args: Args, parents: Sequence[Any]) -> Rows:
    """What a turn of one head leaves of the points, and a turn of all heads, with their labels or without."""
    points, labels = tasks.noise(args.points, (DIMENSION,), CLASSES)
    network, alone = memory.PrototypeMemory(CLASSES, heads=args.points), memory.of_prototype(memory.turn)
    rows = []
    for change, heads, size in (
        (memory.turn, 1, 1.0), (memory.turn, None, 1.0), *((alone, None, size) for size in (0.01, 0.03, 0.1, 0.3, 1.0)),
    ):  # fmt: skip
        mutation = memory.gene(change, variation.absolute(size), heads=heads)

        @jax.jit
        def after(params: Any, mutation: jaxga.Variation = mutation) -> jax.Array:
            own = jaxga.Individual(params, mutation.init(params))

            def known(key: jax.Array) -> jax.Array:
                child = mutation.apply(key, own, jaxga.base.Context(jnp.int32(0), own))
                logits = network.apply(jaxga.lowrank.dense(child.params), points)
                return jnp.sum(tasks.right(jnp.asarray(logits), labels))

            keys = jax.random.split(jax.random.key(1), max(args.draws // 16, 1))
            return jax.lax.map(known, keys, batch_size=64)

        found = np.array([after(params) for params in parents])
        whole = (found == args.points).sum()
        rows.append({
            "a turn of": f"{'one head' if heads else 'all heads'}{', labels stay' if change is alone else ''}",
            "size": size, "points then, mean": experiment.told(found.mean(axis=1), 1),
            "at best": experiment.told(found.max(axis=1), 0), "all points": f"{whole:,} of {found.size:,}",
        })  # fmt: skip
    return rows


def steps_of_lineage(args: Args, algorithm: jaxga.Algorithm, record: Any) -> dict[str, np.ndarray]:
    """Of each replacement on the line to the last best parent: what the old head was worth, and what the new one is.

    Worth is in closeness, summed over the points that a head wins. By chance: of a random head and a random direction,
    on the same parents, where similarities of random directions are normal.
    """
    slots = jnp.asarray([link.slot for link in reversed(pedigree.ancestors(algorithm, record))], jnp.int32)
    probe = lambda source: take(source.parents.params["params"], slots[source.generation - 1])  # noqa: E731
    line = analysis.trace(algorithm, record, probe).values
    points, labels = map(np.asarray, tasks.noise(args.points, (DIMENSION,), CLASSES))
    heads, says = line["memory"], line["label"].argmax(axis=1)
    similar = points @ heads  # [G, P, H]
    order = np.sort(similar, axis=2)
    winner = similar.argmax(axis=2)
    own = winner[..., None] == np.arange(heads.shape[2])
    others = np.where(own, order[..., -2:-1], order[..., -1:])  # [G, P, H]
    right = np.take_along_axis(says, winner, axis=1) == labels
    changed = (heads[1:] != heads[:-1]).any(axis=1)
    at = changed.argmax(axis=1)[:, None, None]
    without = np.take_along_axis(others[:-1], at, axis=2)[..., 0]
    went = np.sum(order[:-1, :, -1] - without, axis=1)
    came = np.sum(order[1:, :, -1] - without, axis=1)
    scale = np.linalg.norm(points, axis=1)[:, None] / np.sqrt(DIMENSION)
    height = others[:-1] / scale
    gain = np.sum(scale * (norm.pdf(height) - height * norm.sf(height)), axis=1).mean(axis=1)
    loss = np.sum(order[:-1, :, -1:] - others[:-1], axis=1).mean(axis=1)
    return {
        "close": order[..., -1].mean(axis=1), "known": right.sum(axis=1), "went": went, "came": came,
        "gain": gain, "loss": loss, "changed": changed.any(axis=1), "fitness": np.diff(right.sum(axis=1)),
    }  # fmt: skip


def closeness(args: Args, out: Path) -> dict[str, Rows]:
    """Closeness over a run, and the replacements that made it."""
    chance: dict[str, Any] = {"start": "random"}
    arms = {"random": chance, "zeros": {}, "random, close wins": chance | {"close": True}}
    rows, causes, curves = [], [], []
    for name, options in list(arms.items())[: 1 if args.quick else None]:
        algorithm, records = runs_of(args, memory.replace, args.points, **options)
        lines = [steps_of_lineage(args, algorithm, record) for record in records]
        close, told = (np.stack([line[key] for line in lines]) for key in ("close", "known"))
        half = [line["close"][int((line["known"] >= args.points // 2).argmax())] for line in lines]
        rows.append({
            "": name, "at first": experiment.told(close[:, 0]), "half known": experiment.told(half),
            "at last": experiment.told(close[:, -1]), "last - first": experiment.told(close[:, -1] - close[:, 0]),
            "points at last": experiment.told(told[:, -1], 0),
        })  # fmt: skip
        kinds = {"more points": lambda change: change > 0, "as many": lambda change: change == 0,
                 "fewer": lambda change: change < 0}  # fmt: skip
        for kind, of in kinds.items():
            chosen = [line["changed"] & of(line["fitness"]) for line in lines]
            pairs = [(line, mask) for line, mask in zip(lines, chosen, strict=True) if mask.any()]
            if pairs:
                mean = lambda key, pairs=pairs: np.array([line[key][mask].mean() for line, mask in pairs])  # noqa: E731
                causes.append({
                    "": name, "points then": kind, "in a run": experiment.told([mask.sum() for mask in chosen], 0),
                    "old head": experiment.told(-mean("went")), "by chance": experiment.told(-mean("loss")),
                    "new head": experiment.told(mean("came")), "by chance ": experiment.told(mean("gain")),
                    "in all": experiment.told([
                        np.sum((line["came"] - line["went"])[mask]) for line, mask in zip(lines, chosen, strict=True)
                    ], 1),
                })  # fmt: skip
        curves.append(report.Curve(name, np.arange(1, args.generations + 1), close))
    axes = {"xlabel": "generation", "ylabel": "mean similarity of a point to its winner", "xscale": "log"}
    report.plot_curves([(axes, curves)], out / "closeness.png", f"{args.seeds} seeds, median within their range")
    return {"closeness of a point": rows, "replacements, in sums over the points": causes}


ASKED: dict[Question, Callable[[Args, Path], dict[str, Rows]]] = {"last_point": last_point, "closeness": closeness}


def main(args: Args) -> None:
    args.settle()
    out = report.make_directory(args.out or report.find_run("memory_replays", asdict(args)))
    found = ASKED[args.question](args, out)
    for title, rows in found.items():
        report.print_table(rows, f"{args.question.replace('_', ' ')}: {title}")
    report.write_json(out / "summary.json", {"name": "memory_replays", "question": args.question, **found})
    print(f"Files: {out}   Picture: {out}/{args.question}.png")


if __name__ == "__main__":
    report.run_command(main, Args)
