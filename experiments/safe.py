"""Do safe mutations break less of what a network can do than plain ones? (Lehman et al. 2018, arXiv 1712.06563)

Four operators: plain Gaussian steps; steps divided by the sensitivity of the outputs to each weight, by the sum of
gradients or by their magnitude; and plain steps that are rescaled until the outputs change by a given amount. Two
problems: a deep network memorizes 64 points of noise, and a recurrent one (two LSTM cells) reads all 16 strings of four
bits and answers their parity. The outputs are the logits for the data of the task.

*harmless*: the part of the children that are no worse than their parent, for parents at several levels of fitness from
runs with plain steps. Operators are compared where their steps have the same mean length in the space of weights, and
where outputs change equally (root mean square). "times plain" is paired by parent. 2 and more at equal length is what
safe mutations promise. At an equal change of the outputs, 1 means that an operator is plain mutation with shorter or
longer steps. A step that does nothing is harmless as well: "better" counts the children that are truly better.

*speed*: evaluations until the target, each operator with its best magnitude out of a grid, and seconds, because
sensitivities cost backward passes and rescaled steps forward ones. An operator with fewer evaluations and more seconds
is worth its cost only where an evaluation is expensive. If the best magnitude is at an end of the grid, widen it.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import experiment
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

import jaxga
from jaxga import nn, pedigree, report, tasks, variation
from jaxga.lowrank import dense
from jaxga.run import evaluator_of
from jaxga.tree import take
from jaxga.variation import absolute, gaussian, of_magnitude, of_sum, safe_gradient, safe_rescale

Problem = Literal["deep", "parity"]
Outputs = Callable[[Any], jax.Array]
WIDTH, DEPTH, POINTS = 32, 8, 64
SEEN = 16  # points of the deep problem that operators look at while a run goes on: gradients of each cost a pass
PARENTS, CHILDREN = {"deep": 1, "parity": 8}, 64
ENOUGH = {"deep": 32, "parity": 16}  # points that are right
LENGTHS, CHANGES = (0.01, 0.03, 0.1), (0.1, 0.3)  # of steps and outputs, in units of the weights and outputs themselves
TOLERANCE = 0.01  # part of the parent's cross-entropy that a child may lose


@experiment.own_first
@dataclass
class Args(experiment.Files):
    question: Literal["harmless", "speed"] = "harmless"
    """harmless: how many children are no worse than their parent. speed: evaluations and seconds until a target."""
    problems: tuple[Problem, ...] = ("deep", "parity")
    """deep: 8 hidden layers of 32 memorize noise. parity: of four bits, by a recurrent network."""
    seeds: int = 10
    """Runs of every arm, and so many parents of each level."""
    generations: int = 100
    """Of a run."""
    magnitudes: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    """That speed tries. They are sizes of steps in units of weights, or changes of the outputs."""
    samples: int = 128
    """Children of a parent, for harmless."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/safe/<id>."""
    quick: bool = False
    """The first two operators, a few children of deep."""


class Recurrent(linen.Module):
    """Two LSTM cells, one on the other, read ``[B, 4]`` bit by bit; logits ``[B, 2]`` after the last bit."""

    size: int = 15

    @linen.compact
    def __call__(self, bits: jax.Array) -> jax.Array:
        cells = [linen.LSTMCell(self.size), linen.LSTMCell(self.size)]
        carries = [cell.initialize_carry(jax.random.key(0), (len(bits), 1)) for cell in cells]
        x = bits
        for step in range(bits.shape[1]):
            x = bits[:, step : step + 1]
            for number, cell in enumerate(cells):
                carries[number], x = cell(carries[number], x)
        return linen.Dense(2)(x)


class Posed(NamedTuple):
    """A problem."""

    task: jaxga.Task
    outputs: Outputs  # logits [B, O] for all points
    seen: Outputs  # for those that operators look at while a run goes on


def pose(problem: Problem) -> Posed:
    """The task of a problem, with cross-entropy as fitness, and its outputs."""
    if problem == "deep":
        network: linen.Module = nn.MLP((WIDTH,) * DEPTH + (10,), kernel_init=linen.initializers.he_normal())
        inputs, labels = tasks.noise(POINTS, (WIDTH,), 10)
    else:
        bits = (np.arange(16)[:, None] >> np.arange(4)) & 1
        network, inputs, labels = Recurrent(), jnp.asarray(bits, jnp.float32), jnp.asarray(bits.sum(axis=1) % 2)
    of = lambda inputs: lambda params: jnp.asarray(network.apply(params, inputs))  # noqa: E731
    return Posed(tasks.labelled(network, inputs, labels), of(inputs), of(inputs[:SEEN]))


def operators(outputs: Outputs, limit: float = 0.2, at: Any = None) -> dict[str, Callable[[Any], jaxga.Variation]]:
    """Four mutations, each a function of its magnitude: the size of steps, or the change of the outputs.

    For the children of one network ``at`` alone, its sensitivities are computed once, and not for each magnitude.
    """

    def safely(sensitivity: Callable[..., Any]) -> Callable[[Any], jaxga.Variation]:
        known = None if at is None else sensitivity(outputs, at)
        of = sensitivity if at is None else lambda *_: known
        return lambda magnitude: safe_gradient(plain(magnitude), outputs, of, limit=limit)

    plain = lambda magnitude: gaussian(absolute(magnitude))  # noqa: E731
    rescaled = lambda magnitude: safe_rescale(plain(0.1), outputs, magnitude, iterations=9)  # noqa: E731
    return {"plain": plain, "by sum": safely(of_sum), "by magnitude": safely(of_magnitude), "rescaled": rescaled}


def judge(posed: Posed, name: str, samples: int) -> Callable[..., jax.Array]:
    """A function ``(params, by_length, target) -> [4]``: of the children, the numbers that are harmless, within the
    tolerance and better; and their mean length or change.

    The magnitude is found by bisection of its logarithm, so that steps have the mean length ``target`` in units of the
    weights, or change the outputs by ``target`` in units of the outputs.
    """
    keys = jax.random.split(jax.random.key(0), samples)

    def children(operator: Callable[[Any], jaxga.Variation], params: Any, magnitude: jax.Array, keys: jax.Array) -> Any:
        mutation = operator(magnitude)
        parent = jaxga.Individual(params, mutation.init(params))
        context = jaxga.base.Context(jnp.int32(0), parent)
        return jax.vmap(lambda key: dense(mutation.apply(key, parent, context).params))(keys)

    def size(params: Any, kids: Any, by_length: jax.Array) -> jax.Array:
        square = lambda one, other: sum(  # noqa: E731
            jnp.sum((a - b) ** 2) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
        )
        zeros, before = jax.tree.map(jnp.zeros_like, params), posed.outputs(params)
        length = jnp.sqrt(jax.vmap(lambda kid: square(kid, params))(kids) / square(params, zeros)).mean()
        change = jax.vmap(lambda kid: jnp.mean((posed.outputs(kid) - before) ** 2))(kids).mean()
        return jnp.where(by_length, length, jnp.sqrt(change / jnp.mean((before - before.mean()) ** 2)))

    @jax.jit
    def judged(params: Any, by_length: jax.Array, target: jax.Array) -> jax.Array:
        operator = operators(posed.outputs, at=params)[name]

        def halve(ends: tuple[jax.Array, jax.Array], _: None) -> tuple[tuple[jax.Array, jax.Array], None]:
            low, high = ends
            middle = (low + high) / 2
            far = size(params, children(operator, params, 10**middle, keys[:32]), by_length) > target
            return (jnp.where(far, low, middle), jnp.where(far, middle, high)), None

        (low, high), _ = jax.lax.scan(halve, (jnp.float32(-5), jnp.float32(2)), None, length=12)
        kids = children(operator, params, 10 ** ((low + high) / 2), keys)
        before = posed.task.score(keys[0], params).fitness
        gain = jax.vmap(lambda kid: posed.task.score(keys[0], kid).fitness)(kids) - before
        counts = [jnp.sum(harmless) for harmless in (gain >= 0, gain >= TOLERANCE * before, gain > 0)]
        return jnp.stack([*(count.astype(jnp.float32) for count in counts), size(params, kids, by_length)])

    return judged


def harmless(args: Args, problem: Problem, out: Path) -> list[dict[str, Any]]:
    """Children that are no worse, at equal length and at equal change of the outputs."""
    posed, last = pose(problem), args.generations
    plain = gaussian(variation.multiplicative(absolute(0.05), up=1.2))
    algorithm = jaxga.ga(posed.task.init, plain, parents=1, children=2 * CHILDREN, elites=1)
    runs = jaxga.run_many(lambda: algorithm, posed.task, generations=last, seeds=args.seeds, batch=1, pedigrees=True)
    levels = [0, last] if args.quick else [0, last // 8, last // 2, last]
    parents = {
        at: [take(pedigree.replay(algorithm, one, at).parents.params, 0) for one in runs.pedigrees] for at in levels
    }
    targets = [("length", length) for length in LENGTHS] + [("change", change) for change in CHANGES]
    found, rows = {}, []
    for name in experiment.chosen(operators(posed.outputs), (), args.quick):
        judged = judge(posed, name, args.samples)
        for level in levels:
            for what, target in targets:
                ask = jnp.asarray(what == "length"), jnp.float32(target)
                found[level, what, target, name] = np.stack([np.asarray(judged(one, *ask)) for one in parents[level]])
    for (level, what, target, name), counts in sorted(
        found.items(), key=lambda one: (one[0][1] != "length", one[0][:3])
    ):
        times = (counts + 0.5) / (found[level, what, target, "plain"] + 0.5)  # half a child more, as there may be none
        share = [experiment.told(100 * counts[:, place] / args.samples, 0) for place in range(3)]
        points = runs.metrics["points"][:, max(level - 1, 0)]
        rows.append({
            "": name, "generation": level, "points": experiment.told(points, 0), "equal": what, "at": target,
            **dict(zip(("harmless, %", "tolerance, %", "better, %"), share, strict=True)),
            "times plain": experiment.told(times[:, 0]), "better": experiment.told(times[:, 2]),
            "found": round(float(np.median(counts[:, 3])), 3),
        })  # fmt: skip
    names = dict.fromkeys(name for *_, name in found)
    panels = [
        ({"xlabel": "length of a step / weights", "xscale": "log", "ylabel": "harmless children, %",
          "title": f"{problem}, generation {level}"},
         [report.Curve(name, LENGTHS, np.stack([100 * found[level, "length", length, name][:, 0] / args.samples
                                               for length in LENGTHS], axis=1)) for name in names])
        for level in levels
    ]  # fmt: skip
    report.plot_curves(panels, out / f"harmless-{problem}.png", f"median of {args.seeds} parents within their range")
    return rows


def milliseconds(algorithm: jaxga.Algorithm, task: jaxga.Task, repeats: int = 8) -> float:
    """What a generation takes: children are made and scored, and the next parents made. The median."""
    evaluator, recipe = evaluator_of(algorithm, task), jaxga.Recipe(jnp.zeros((algorithm.parents, 1), jnp.int32))
    step = jax.jit(lambda source: (evaluator(source).fitness, algorithm.advance(source, recipe)))
    source, taken = algorithm.init(jax.random.key(0)).source, []
    for _ in range(repeats + 1):
        begun = time.perf_counter()
        _, source = jax.block_until_ready(step(source))
        taken.append(1000 * (time.perf_counter() - begun))
    return float(np.median(taken[1:]))


def speed(args: Args, problem: Problem, out: Path) -> list[dict[str, Any]]:
    """Evaluations and seconds until enough points are right, by the best magnitude of each operator."""
    posed, rows, curves = pose(problem), [], []
    for name, operator in experiment.chosen(operators(posed.seen), (), args.quick).items():

        def make(magnitude: Any, operator: Any = operator) -> jaxga.Algorithm:
            return jaxga.ga(
                posed.task.init, operator(magnitude), parents=PARENTS[problem], children=CHILDREN, elites=1
            )  # fmt: skip

        runs = jaxga.run_many(
            make, posed.task, generations=args.generations, seeds=args.seeds, batch=1,
            sweep={"magnitude": args.magnitudes},
        )  # fmt: skip
        shape = len(args.magnitudes), args.seeds, args.generations
        points, loss = (runs.metrics[key].reshape(shape) for key in ("points", "cross_entropy"))
        reached = np.maximum.accumulate(points, axis=2) >= ENOUGH[problem]
        until = np.where(reached.any(axis=2), reached.argmax(axis=2) + 1.0, np.inf)  # [magnitudes, R]
        rank = [(np.isinf(one).sum(), np.median(np.minimum(one, args.generations)), np.median(end))
                for one, end in zip(until, loss[:, :, -1], strict=True)]  # fmt: skip
        best = rank.index(min(rank))
        taken = milliseconds(make(args.magnitudes[best]), posed.task)
        rows.append({
            "": name, "magnitude": args.magnitudes[best], "solved": int(reached[best].any(axis=1).sum()),
            "generations": experiment.told(until[best], 0), "evaluations": experiment.told(CHILDREN * until[best], 0),
            "seconds": experiment.told(until[best] * taken / 1000), "ms a generation": round(taken, 1),
            "cross-entropy at the end": experiment.told(loss[best, :, -1], 3),
            "of each magnitude": " ".join(f"{np.median(one):.2g}" for one in loss[:, :, -1]),
        })  # fmt: skip
        curves.append(report.Curve(name, CHILDREN * np.arange(1, args.generations + 1), loss[best]))
        axes = {"xlabel": "evaluations", "ylabel": "cross-entropy", "title": problem}
        report.plot_curves(
            [(axes, curves)], out / f"speed-{problem}.png", f"median of {args.seeds} seeds, best magnitude"
        )
    return rows


def main(args: Args) -> None:
    if args.quick:
        args.problems, args.seeds, args.generations, args.samples, args.magnitudes = ("deep",), 2, 4, 32, (0.03, 0.1)
    jaxga.base.require_whole(1, seeds=args.seeds, samples=args.samples)
    jaxga.base.require_whole(2, generations=args.generations, problems=len(args.problems) + 1)
    jaxga.require(len(args.magnitudes) > 0, "magnitudes is empty: name at least one.")
    out = report.make_directory(args.out or report.find_run("safe", asdict(args)))
    summary: dict[str, Any] = {"name": "safe", **asdict(args), "out": None}
    for problem in args.problems:
        summary[problem] = {"harmless": harmless, "speed": speed}[args.question](args, problem, out)
        report.write_json(out / "summary.json", summary)
        report.print_table(summary[problem], f"{args.question}, {problem}")
    print(f"Files: {out}   Pictures: {out}/{args.question}-*.png")


if __name__ == "__main__":
    report.run_command(main, Args)
