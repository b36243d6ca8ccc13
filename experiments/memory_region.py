"""On which share of the sphere does a head mend a point and break none, from 8 known points of 64 to 63?

The notes thought that "it keeps being possible to find some smaller and smaller subspace of the sphere", and that the
last one is very small, or is not there. Here it is measured, on parents of runs in which genes replace whole heads.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import experiment
import jax
import jax.numpy as jnp
import numpy as np

import jaxga
from jaxga import memory, pedigree, report, tasks
from jaxga.tree import iota, take

Rows = list[dict[str, Any]]
DIMENSION, CLASSES = 128, 10
BLOCK = 128  # directions that are judged at once
LEVELS = (8, 16, 24, 32, 40, 48, 56, 60, 62, 63)  # known points, of 64


@dataclass
class Args:
    seeds: int = 10
    """Runs of every arm, on the same points."""
    points: int = 64
    """To memorize."""
    generations: int = 3000
    """Of a run."""
    children: int = 64
    """Of a generation."""
    draws: int = 65_536
    """New directions that are tried for every head of a parent."""
    out: Path | None = None
    """Where the figures and the picture go; default runs/memory_region/<id>."""
    quick: bool = False
    """A small one that takes seconds: few points and generations, one number of heads."""

    def settle(self) -> None:
        """Make a quick one small, and refuse what cannot work."""
        if self.quick:
            self.points, self.generations, self.seeds, self.draws = 12, 150, 2, 2048
        jaxga.base.require_whole(2, points=self.points, seeds=self.seeds, generations=self.generations)
        jaxga.base.require_whole(1, draws=self.draws)


class Chances(NamedTuple):
    """Shares of the new directions of each head ``[H]``, with every label alike; and which heads are free."""

    mends: jax.Array  # a wrong point is right then
    harmless: jax.Array  # so, and all points that were right still are
    labelled: jax.Array  # so, if the label is the one that suits the direction best
    complete: jax.Array  # all points are right then
    free: jax.Array  # bool: without this head, all points that were right still are


def similarities(noise: jax.Array, heads: jax.Array, points: jax.Array, turns: bool) -> jax.Array:
    """Of each point to each head in new directions ``[m, H, P]``: noise ``[m, D]`` alone, or a turn of 1 by it."""
    step = noise / float(np.sqrt(noise.shape[1]))
    moved, square = (step @ points.T)[:, None], jnp.sum(step**2, axis=1)[:, None]
    if turns:
        moved, square = moved + (points @ heads).T, square + jnp.sum(heads**2, axis=0) + 2 * step @ heads
    return moved / jnp.sqrt(square)[..., None]


def judge(params: Any, points: jax.Array, labels: jax.Array) -> tuple[Callable[[jax.Array], Any], jax.Array]:
    """A function of new similarities ``[m, H, P]``, and which heads are free ``[H]``.

    It says, for each new label ``[m, H, C]``, whether that mends a point, harms none, and leaves all points right.
    """
    heads, says = params["params"]["memory"], jnp.argmax(params["params"]["label"], axis=0)
    value, nearest = jax.lax.top_k(points @ heads, 2)
    own = nearest[:, 0] == iota(heads.shape[1])[:, None]
    others = jnp.where(own, value[:, 1], value[:, 0])  # [H, P], the nearest without this head
    right = jnp.where(own, says[nearest[:, 1]], says[nearest[:, 0]]) == labels  # what that one says
    known = says[nearest[:, 0]] == labels
    of_class = jax.nn.one_hot(labels, CLASSES, dtype=jnp.float32)

    def judged(similar: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        wins = similar > others
        kept, won = ((mask.astype(jnp.float32) @ of_class) for mask in (wins & known, wins))
        left = (~wins & known & ~right).any(axis=-1)  # to a head that is wrong
        harmless = (jnp.sum(kept, axis=-1, keepdims=True) == kept) & ~left[..., None]
        mends = (won > kept) | (~wins & ~known & right).any(axis=-1)[..., None]
        elsewhere = jnp.sum((~wins & right).astype(jnp.float32), axis=-1)[..., None]
        return mends, harmless, won + elsewhere == float(len(labels))

    return judged, ~(known & ~right).any(axis=1)


@partial(jax.jit, static_argnames=("draws", "turns"))
def chances(params: Any, points: jax.Array, labels: jax.Array, draws: int, turns: bool) -> Chances:
    """Of changes of each head. All labels are counted, so that only directions are drawn."""
    judged, free = judge(params, points, labels)

    def block(key: jax.Array) -> tuple[jax.Array, ...]:
        noise = jax.random.normal(key, (min(BLOCK, draws), points.shape[1]), jnp.float32)
        mends, harmless, complete = judged(similarities(noise, params["params"]["memory"], points, turns))
        good = mends & harmless
        shares = jnp.mean(mends, axis=-1), jnp.mean(good, axis=-1), good.any(axis=-1), jnp.mean(complete, axis=-1)
        return tuple(jnp.mean(share, axis=0) for share in shares)

    found = jax.lax.map(block, jax.random.split(jax.random.key(0), max(draws // BLOCK, 1)))
    mends, harmless, labelled, complete = (jnp.mean(part, axis=0) for part in found)
    return Chances(mends, harmless, labelled, complete, free)


def runs_of(
    args: Args,
    change: Any,
    heads: int,
    *,
    close: bool = False,
    start: memory.Start = "zeros",
    parents: int = 16,
    elites: int = 0,
) -> tuple[jaxga.Algorithm, Any]:
    """The notes' population with this gene, and the pedigrees of all seeds. ``close``: closeness decides if equal."""
    network = memory.PrototypeMemory(CLASSES, heads=heads, start=start)
    decides = memory.intrinsic(network) if close else None
    task = tasks.memorization(network, points=args.points, shape=(DIMENSION,), loss=tasks.errors, tiebreak=decides)
    algorithm = jaxga.ga(task.init, memory.gene(change), parents=parents, children=args.children, elites=elites)
    runs = jaxga.run_many(
        lambda: algorithm, task, generations=args.generations, seeds=args.seeds, batch=1, pedigrees=True
    )
    return algorithm, runs.pedigrees


def when(args: Args, record: Any, known: int) -> int:
    """After so many generations the best parent first knows so many points; more than the run has, if it never does."""
    reached = record.fitness[:, 0] + args.points >= known
    return 1 + (int(reached.argmax()) if reached.any() else len(reached))


def measure(args: Args, params: Any) -> dict[str, float]:
    """One memory: the shares of the sphere where a head mends a point and breaks none, and degrees between things."""
    points, labels = tasks.noise(args.points, (DIMENSION,), CLASSES)
    chance: Any = jax.device_get(chances(params, points, labels, args.draws, False))
    heads, says = np.asarray(params["params"]["memory"]), np.asarray(params["params"]["label"]).argmax(axis=0)
    winner = np.asarray(points @ heads).argmax(axis=1)
    wrong = np.asarray(says[winner] != np.asarray(labels))
    used = np.isin(np.arange(heads.shape[1]), winner)
    mends, harmless, _ = judge(params, points, labels)[0](similarities(points, jnp.asarray(heads), points, False))
    aimed = np.asarray(mends & harmless)[np.arange(len(labels)), :, np.asarray(labels)].any(axis=1)
    unit = [np.asarray(part) / np.maximum(np.linalg.norm(part, axis=0), 1e-9) for part in (points.T, heads)]
    order, among = np.sort(unit[0].T @ unit[1], axis=1), unit[1][:, used].T @ unit[1][:, used]
    degrees = lambda cosine: float(np.degrees(np.arccos(cosine.clip(-1, 1))).mean())  # noqa: E731
    return {
        "any head": chance.labelled.mean(), "an idle head": chance.labelled[~used].mean() if not used.all() else np.nan,
        "any head, a wrong point": chance.labelled.mean() / max(wrong.sum(), 1),
        "aimed at a wrong point": float(np.mean(aimed, where=wrong)) if wrong.any() else np.nan,
        "heads in use": float(used.sum()),
        "point to winner, degrees": degrees(order[:, -1]), "to the second": degrees(order[:, -2]),
        "winner to nearest winner": degrees(np.sort(among, axis=1)[:, -2]) if used.sum() > 1 else np.nan,
    }  # fmt: skip


def _items(row: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(row.items())


def region(args: Args, out: Path) -> dict[str, Rows]:
    """Shares of the sphere, from few points known to nearly all."""
    found, curves = {}, []
    for heads in (args.points,) if args.quick else (args.points, 2 * args.points):
        algorithm, records = runs_of(args, memory.replace, heads, parents=1, elites=1)
        rows, shares = [], {}
        for level in (level for level in LEVELS if level < args.points):
            at = [(record, when(args, record, level)) for record in records]
            ends = [pedigree.replay(algorithm, one, time) for one, time in at if time <= one.generations]
            if ends:
                seen = [measure(args, take(end.parents.params, 0)) for end in ends]
                shares[level] = np.median([one["any head"] for one in seen])
                values = {key: np.array([one[key] for one in seen]) for key in seen[0]}
                told = {key: experiment.told(one[~np.isnan(one)], 2, "g") if (~np.isnan(one)).any() else "-"
                        for key, one in values.items()}  # fmt: skip
                rows.append({"known": level, "runs": len(seen), **told})
        for title, of in (("share of the sphere", slice(5)), ("degrees", slice(5, None))):
            found[f"{heads} heads, {title}"] = [dict([*items[:2], *items[2:][of]]) for items in map(_items, rows)]
        curves.append(report.Curve(f"{heads} heads", list(shares), np.maximum(list(shares.values()), 1e-7)))
    axes = {"xlabel": "points known", "ylabel": "share of the sphere", "yscale": "log"}
    title = "where a head mends a point and breaks none, median"
    report.plot_curves([(axes, curves)], out / "memory_region.png", title)
    return found


def main(args: Args) -> None:
    args.settle()
    out = report.make_directory(args.out or report.find_run("memory_region", asdict(args)))
    found = region(args, out)
    for title, rows in found.items():
        report.print_table(rows, title)
    report.write_json(out / "summary.json", {"name": "memory_region", **found})
    print(f"Files: {out}   Picture: {out / 'memory_region.png'}")


if __name__ == "__main__":
    report.run_command(main, Args)
