"""What is reached in so many seconds, and in so many generations? ``python -m benchmarks.curves``.

jaxga with low-rank and with Gaussian children, evosax with the evolution strategy of its own MNIST example and with its
SimpleGA, on the same networks, data and batches. Everyone has the same seconds: a first run measures what a generation
takes, and schedules are as long as the generations that fit. ``jaxga, low-rank, as few`` has the generations of the
Gaussian children instead. Only generations are timed, not compilation and not the measuring of what was reached.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxga
from benchmarks import peers
from jaxga import compilation, data, nn, report, tasks, variation
from jaxga.devices import everywhere
from jaxga.report.files import describe_machine
from jaxga.tasks.memorization import noise

POINTS = 25  # of a curve
LAST = 0.02  # of a step size, at the end of its schedule
NETWORK, PLAIN = nn.MLP((128, 10)), peers.Plain((128,))


Examples = tuple[jax.Array, jax.Array]  # inputs and labels


class Work(NamedTuple):
    """The same for everyone."""

    title: str
    task: jaxga.Task
    inputs: jax.Array
    labels: jax.Array
    batch: int | None
    reached: Callable[[jax.Array, jax.Array], jax.Array]  # from the parent's logits and the labels
    on: Examples  # that it is asked about along the way
    at_last: Examples  # and when the run is over, once
    measure: str  # at last
    goal: float  # along the way; seconds to it are told

    def there(self, values: np.ndarray) -> np.ndarray:
        """Has the goal been reached?"""
        return values <= self.goal if self.measure == "cross-entropy" else values >= self.goal


class Setting(NamedTuple):
    """Of one contestant on one work: the best of 9 to 16, children by step sizes, tried on another seed."""

    children: int
    sigma: float  # at the start; jaxga's is relative to a layer's first weights
    pull: float = 0.0  # jaxga: length of the averaged step, 0 takes the best child; evosax: Adam's step size
    decay: float = 0.0  # jaxga: part by which the parent becomes shorter


class Contestant(NamedTuple):
    """Functions of a carry, which holds all that goes from one generation to the next."""

    start: Callable[[int], Any]
    advance: Callable[[Any, jax.Array], Any]  # so many generations
    parent: Callable[[Any], Any]


def memorize() -> Work:
    """Work (a): 64 vectors."""
    inputs, labels = noise(64, (128,), 10)
    task = tasks.memorization(NETWORK, points=64, shape=(128,))
    all_of_it = inputs, labels
    return Work("64 random vectors", task, *all_of_it, None, peers.loss, all_of_it, all_of_it, "cross-entropy", 0.01)


def mnist() -> Work:
    """Work (b): batches of 500 images, new for every generation.

    Curves and settings look at the 10,000 validation images; the last parents are asked about the 10,000 test images.
    """
    images = data.mnist()
    assert images.test_images is not None
    mean, scale = images.train_images.mean(), images.train_images.std()
    inputs, unseen, untouched = (
        jnp.asarray((part - mean) / scale)
        for part in (images.train_images, images.validation_images, images.test_images)
    )
    labels, of_unseen, of_untouched = map(
        jnp.asarray, (images.train_labels, images.validation_labels, images.test_labels)
    )
    task = tasks.classification(NETWORK, images, batch=500)
    along, at_last = (unseen, of_unseen), (untouched, of_untouched)
    return Work("MNIST, batches of 500", task, inputs, labels, 500, right, along, at_last, "test accuracy", 0.85)


def right(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Accuracy."""
    return jnp.mean(jnp.argmax(logits, -1) == labels)


WORKS = {"a": memorize, "mnist": mnist}


def recipe(
    task: jaxga.Task, setting: Setting, generations: int, mutation: Callable[..., jaxga.Variation]
) -> jaxga.Algorithm:
    """Children of one parent, averaged by rank or the best alone; step sizes fall like a cosine, to a fiftieth."""
    falling = lambda start: optax.cosine_decay_schedule(start, generations, LAST)  # noqa: E731
    size = variation.scheduled(variation.relative(setting.sigma), falling(1.0))
    weights = variation.by_centred_rank(jnp.arange(setting.children, 0, -1.0))
    scale = setting.pull / float(jnp.sqrt(jnp.sum(weights**2)))
    shorter = variation.decay(falling(setting.decay)) if setting.decay else None
    averaged = variation.average(setting.children, variation.by_centred_rank, scale=scale, projection=shorter)
    return jaxga.ga(
        task.init, mutation(size), parents=1, children=setting.children,
        recombination=averaged if setting.pull else None,
    )  # fmt: skip


def genetic(work: Work, setting: Setting, generations: int, mutation: Callable[..., jaxga.Variation]) -> Contestant:
    """One of jaxga's."""
    algorithm = recipe(work.task, setting, generations, mutation)
    evaluator = jaxga.sharded(jaxga.vmapped(algorithm, work.task))

    def advance(state: jaxga.State, number: jax.Array) -> jaxga.State:
        return jax.lax.fori_loop(0, number, lambda _, state: algorithm.update(state, evaluator(state))[0], state)

    return Contestant(
        lambda seed: everywhere(jax.jit(algorithm.init)(jax.random.key(seed)), evaluator.mesh),
        compilation.jit(advance, evaluator.mesh),
        lambda state: jax.tree.map(lambda leaf: leaf.addressable_data(0)[0], state.parents.params),
    )


def evosax(work: Work, setting: Setting, generations: int, simple: bool) -> Contestant:
    """Open_ES with Adam and the schedules of evosax's MNIST example, or SimpleGA with the same schedule of noise."""
    from evosax.algorithms import Open_ES, SimpleGA  # pyright: ignore[reportMissingImports]

    falling = lambda start, to: optax.exponential_decay(start, generations, to)  # noqa: E731
    params, std = PLAIN.init(jax.random.key(0), work.inputs[:1]), falling(setting.sigma, 0.2)
    algorithm: Any
    if simple:
        algorithm = SimpleGA(setting.children, params, std_schedule=std)
    else:
        adam = optax.adam(falling(setting.pull, 0.1))
        algorithm = Open_ES(setting.children, params, optimizer=adam, std_schedule=std)
    generation = peers.evosax_generation(algorithm, PLAIN, setting.children)

    def one(carry: Any) -> Any:
        if work.batch is None:
            return generation(carry, work.inputs, work.labels)
        key, key_batch = jax.random.split(carry[0])
        chosen = jax.random.randint(key_batch, (work.batch,), 0, len(work.labels))
        return generation((key, carry[1]), work.inputs[chosen], work.labels[chosen])

    def start(seed: int) -> Any:
        return peers.evosax_start(algorithm, PLAIN.init(jax.random.key(seed), work.inputs[:1]), seed)

    parent = algorithm.get_best_solution if simple else algorithm.get_mean
    advance = compilation.jit(lambda carry, number: jax.lax.fori_loop(0, number, lambda _, carry: one(carry), carry))
    return Contestant(start, advance, lambda carry: parent(carry[1]))


WHO: dict[str, Callable[[Work, Setting, int], Contestant]] = {
    "jaxga, low-rank": partial(genetic, mutation=variation.low_rank),
    "jaxga, Gaussian": partial(genetic, mutation=variation.gaussian),
    "jaxga, low-rank, as few": partial(genetic, mutation=variation.low_rank),
    "jaxga, low-rank, best child": partial(genetic, mutation=variation.low_rank),
    "jaxga, Gaussian, best child": partial(genetic, mutation=variation.gaussian),
    "jaxga, low-rank, best child, as few": partial(genetic, mutation=variation.low_rank),
    "evosax Open_ES": partial(evosax, simple=False),
    "evosax SimpleGA": partial(evosax, simple=True),
}
SETTINGS = {
    "a": {
        "jaxga, low-rank": Setting(128, 0.2, 3.2),
        "jaxga, Gaussian": Setting(16, 0.2, 2.7),
        "jaxga, low-rank, best child": Setting(128, 0.2),
        "jaxga, Gaussian, best child": Setting(16, 0.3),
        "evosax Open_ES": Setting(32, 0.1, 0.1),
        "evosax SimpleGA": Setting(16, 0.03),
    },
    "mnist": {
        "jaxga, low-rank": Setting(512, 0.05, 3.2, 3e-3),
        "jaxga, Gaussian": Setting(64, 0.05, 2.7),
        "jaxga, low-rank, best child": Setting(128, 0.05),
        "jaxga, Gaussian, best child": Setting(16, 0.05),
        "evosax Open_ES": Setting(64, 0.05, 0.01),
        "evosax SimpleGA": Setting(16, 0.005),
    },
}


def of(name: str, who: str) -> Setting:
    """The setting of a contestant; who has as few generations as another has also its setting."""
    return SETTINGS[name][twin(who)]


def twin(who: str) -> str:
    """Who decides about a contestant's generations."""
    return who.replace("low-rank", "Gaussian").removesuffix(", as few") if who.endswith("as few") else who


def fitting(work: Work, setting: Setting, who: str, seconds: float) -> int:
    """Generations that fit into so many seconds."""
    contestant = WHO[who](work, setting, 1000)
    carry, number, taken = compiled(contestant), 1, 0.0
    while taken < 0.5:
        number *= 2
        begun = time.perf_counter()
        carry = jax.block_until_ready(contestant.advance(carry, jnp.int32(number)))
        taken = time.perf_counter() - begun
    return max(int(seconds * number / taken), 2)


def compiled(contestant: Contestant) -> Any:
    """A carry after two generations; after the first its types may be others."""
    carry = contestant.start(0)
    for _ in range(2):
        carry = jax.block_until_ready(contestant.advance(carry, jnp.int32(1)))
    return carry


def curves(work: Work, who: str, setting: Setting, generations: int, seeds: range) -> dict[str, Any]:
    """Of every seed: what the parent reached after so many generations, and the seconds until then."""
    contestant = WHO[who](work, setting, generations)
    apply: Any = NETWORK.apply if who.startswith("jaxga") else PLAIN.apply
    reached = jax.jit(lambda params, inputs, labels: work.reached(apply(params, inputs), labels))
    at = np.unique(np.linspace(0, generations, POINTS + 1).round().astype(int))
    compiled(contestant)
    (values, seconds), at_last = np.zeros((2, len(seeds), len(at))), np.zeros(len(seeds))
    for run, seed in enumerate(seeds):
        carry, clock = contestant.start(seed), 0.0
        for point, number in enumerate(np.diff(at, prepend=0)):
            begun = time.perf_counter()
            carry = jax.block_until_ready(contestant.advance(carry, jnp.int32(number)))
            clock += (time.perf_counter() - begun) if number else 0.0
            values[run, point], seconds[run, point] = reached(contestant.parent(carry), *work.on), clock
        at_last[run] = reached(contestant.parent(carry), *work.at_last)
    return {
        "who": who, "setting": setting._asdict(), "generations": at.tolist(), "values": values.tolist(),
        "seconds": seconds.tolist(), "at_last": at_last.tolist(),
    }  # fmt: skip


def row(found: dict[str, Any], work: Work) -> dict[str, Any]:
    """What a contestant reached at last, and when it reached the goal along the way."""
    values, seconds = np.array(found["values"]), np.array(found["seconds"])
    there = work.there(values)
    first = np.where(there.any(axis=1), seconds[np.arange(len(values)), there.argmax(axis=1)], np.inf)
    return {
        "": found["who"], "children": found["setting"]["children"], "generations": found["generations"][-1],
        "seconds": float(np.median(seconds[:, -1])),
        work.measure: str(report.median_interval(np.array(found["at_last"]))),
        f"seconds to {work.goal}": float(np.median(first)),
    }  # fmt: skip


def draw(folder: Path) -> None:
    """What was reached against seconds, a panel for every work that was measured."""
    panels = []
    for name in WORKS:
        file = folder / f"curves_{name}.json"
        contestants = json.loads(file.read_text())["contestants"] if file.exists() else []
        lines = [
            report.Curve(one["who"], np.median(one["seconds"], axis=0)[1:], np.array(one["values"])[:, 1:])
            for one in contestants
            if not one["who"].endswith("as few")
        ]
        axes = {"title": TITLES[name], "xlabel": "seconds of evolution", "xscale": "log", **AXES[name]}
        panels += [(axes, lines)] if lines else []
    report.plot_curves(panels, folder / "curves.png")


TITLES = {"a": "64 random vectors, MLP 128-128-10", "mnist": "MNIST, MLP 784-128-10"}
AXES: dict[str, dict[str, Any]] = {
    "a": {"ylabel": "cross-entropy", "yscale": "log", "ylim": (1e-7, 10)},
    "mnist": {"ylabel": "validation accuracy"},
}


@dataclass
class Args:
    works: tuple[str, ...] = ("a", "mnist")
    """Of a and mnist."""
    who: tuple[str, ...] = tuple(WHO)
    """Contestants."""
    seconds: tuple[float, ...] = (0.3, 20.0)
    """Of every run, for each of the works."""
    seeds: int = 10
    out: Path | None = None
    """A folder for the figures and the picture."""


def main(args: Args) -> None:
    for name, seconds in zip(args.works, args.seconds, strict=True):
        work, fit, found = WORKS[name](), {}, []
        for who in args.who:
            fit[who] = fit[twin(who)] if twin(who) in fit else fitting(work, of(name, who), twin(who), seconds)
            found.append(curves(work, who, of(name, who), fit[who], range(args.seeds)))
            jax.clear_caches()
        report.print_table([row(one, work) for one in found], f"{TITLES[name]}, {args.seeds} seeds")
        if args.out:
            args.out.mkdir(parents=True, exist_ok=True)
            figures = {"machine": describe_machine(), "contestants": found}
            report.write_json(args.out / f"curves_{name}.json", figures)
    if args.out:
        draw(args.out)


if __name__ == "__main__":
    report.run_command(main, Args)
