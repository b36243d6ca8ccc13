"""How fast are models that jaxga does not know? Low-rank children of networks of flax, against what is possible.

``python -m benchmarks.models`` takes several minutes on two cores; ``--models mlp lstm`` measures some alone. Everyone
scores the same children of four parents, in turns, in one process:

- *in parts*: as `jaxga.vmapped` does it, the program read by `jaxga.interpret`.
- *dense*: the same children, each built as plain arrays.
- *by hand*: the best layout that we know, written out for this network.
- *Gaussian*: children whose weights all differ.
- *one network*: every child is the same network on inputs of its own: what the products alone would cost.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

import jaxga
from benchmarks.timing import in_turns
from jaxga import compilation, report, variation
from jaxga.devices import everywhere
from jaxga.lowrank import dense
from jaxga.report.files import describe_machine

PARENTS = 4
STEP = variation.absolute(0.02)


class MLP(linen.Module):
    features: tuple[int, ...]

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for features in self.features[:-1]:
            x = linen.relu(linen.Dense(features)(x))
        return linen.Dense(self.features[-1])(x)


class Conv(linen.Module):
    """The network of Mnih et al. 2015."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for features, size, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)):
            x = linen.relu(linen.Conv(features, (size, size), stride, padding="VALID")(x))
        x = linen.relu(linen.Dense(512)(x.reshape(len(x), -1)))
        return linen.Dense(10)(x)


class LSTM(linen.Module):
    width: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return linen.Dense(10)(jnp.asarray(linen.RNN(linen.OptimizedLSTMCell(self.width))(x))[:, -1])


class Block(linen.Module):
    width: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x + linen.MultiHeadDotProductAttention(num_heads=4)(linen.LayerNorm()(x))
        return x + linen.Dense(self.width)(linen.gelu(linen.Dense(4 * self.width)(linen.LayerNorm()(x))))


class Transformer(linen.Module):
    width: int

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.Dense(self.width)(x)
        for _ in range(2):
            x = Block(self.width)(x)
        return linen.Dense(10)(linen.LayerNorm()(x).mean(axis=1))


def in_columns(params: Any, x: jax.Array) -> jax.Array:
    """The perceptron, with the examples in columns."""
    x = x.T
    for number in range(len(params["params"])):
        layer = params["params"][f"Dense_{number}"]
        x = layer["kernel"].T @ (jax.nn.relu(x) if number else x) + layer["bias"][:, None]
    return x.T


@dataclass(frozen=True)
class Model:
    """A network, and what its children are scored on."""

    title: str
    network: linen.Module
    shape: tuple[int, ...]  # of the inputs
    children: int
    by_hand: Callable[[Any, jax.Array], jax.Array] | None = None


MODELS = {
    "mlp": Model("MLP 784-128-10, 1,024 children", MLP((128, 10)), (64, 784), 1024, in_columns),
    "deep": Model("MLP 784-256-256-256-10, 256 children", MLP((256, 256, 256, 10)), (64, 784), 256, in_columns),
    "conv": Model("Atari network on 64 x 64 x 3, 64 children", Conv(), (64, 64, 64, 3), 64),
    "lstm": Model("LSTM 64, 16 steps, 256 children", LSTM(64), (64, 16, 32), 256),
    "lstm32": Model("LSTM 32, 16 steps, 256 children", LSTM(32), (64, 16, 32), 256),
    "lstm256": Model("LSTM 256, 16 steps, 64 children", LSTM(256), (64, 16, 64), 64),
    "transformer": Model("transformer 2 x 64, 64 x 16, 64 children", Transformer(64), (64, 16, 32), 64),
    "transformer256": Model("transformer 2 x 256, 8 x 16, 64 children", Transformer(256), (8, 16, 32), 64),
}


class Scores:
    """The fitness of all children, compiled at the first call."""

    working = 0  # bytes, once it is compiled

    def __init__(self, task: jaxga.Task, mutation: jaxga.Variation, children: int):
        algorithm = jaxga.ga(task.init, mutation, parents=PARENTS, children=children)
        self.evaluator = jaxga.sharded(jaxga.vmapped(algorithm, task))
        self.state = everywhere(jax.jit(algorithm.init)(jax.random.key(0)), self.evaluator.mesh)
        self.prepared: compilation.Prepared | None = None

    def __call__(self) -> Any:
        if self.prepared is None:
            score = lambda state: self.evaluator(state).fitness  # noqa: E731
            self.prepared = compilation.prepare(score, (self.state,), self.evaluator.mesh)
            self.working = self.prepared.memory.working
        return self.prepared.compiled(self.prepared.data, jax.tree.leaves(self.state))


def built(mutation: jaxga.Variation) -> jaxga.Variation:
    """The same children as arrays."""

    def apply(key: Any, parent: Any, context: Any) -> Any:
        child = mutation.apply(key, parent, context)
        return child._replace(params=dense(child.params))

    return mutation._replace(apply=apply)


def task_of(init: Callable[..., Any], apply: Callable[..., Any], x: jax.Array) -> jaxga.Task:
    return jaxga.Task(init, lambda _, params: jaxga.Evaluation(-jnp.mean((apply(params, x) - 1) ** 2)))


def one_network(model: Model, x: jax.Array) -> tuple[jaxga.Task, jaxga.Variation]:
    """Children that are one network, each on inputs that are a little its own."""
    init = lambda key: {"own": jnp.zeros(()), "all": model.network.init(key, x)}  # noqa: E731
    apply = lambda params, x: model.network.apply(params["all"], x * (1 + params["own"]))  # noqa: E731
    move = lambda key, params: params | {"own": params["own"] + 0.01 * jax.random.normal(key)}  # noqa: E731
    return task_of(init, apply, x), variation.stateless(move)


def rows_of(model: Model) -> dict[str, Scores]:
    """Everyone's program for one model."""
    x = jax.random.normal(jax.random.key(1), model.shape)
    init = lambda key: model.network.init(key, x)  # noqa: E731
    task, low_rank = task_of(init, model.network.apply, x), variation.low_rank(STEP)
    choices = {
        "in parts": (task, low_rank),
        "dense": (task, built(low_rank)),
        "by hand": (task_of(init, model.by_hand, x), low_rank) if model.by_hand else None,
        "Gaussian": (task, variation.gaussian(STEP)),
        "one network": one_network(model, x),
    }
    return {name: Scores(choice[0], choice[1], model.children) for name, choice in choices.items() if choice}


def measure(name: str, seconds: float) -> dict[str, Any]:
    """Everyone on one model, in turns."""
    model = MODELS[name]
    programs = rows_of(model)
    timings = in_turns(programs, seconds)
    parts = timings["in parts"].median
    rows = [
        {
            "who": who, "ms": round(1e3 * timing.median, 2), "of in parts": round(timing.median / parts, 2),
            "first call, s": round(timing.first, 1), "working, MB": round(programs[who].working / 1e6, 2),
            "calls": timing.calls,
        }
        for who, timing in timings.items()
    ]  # fmt: skip
    return {"model": name, "title": model.title, "rows": rows}


@dataclass
class Args:
    models: tuple[str, ...] = tuple(MODELS)
    """Some of mlp, deep, conv, lstm, lstm256, transformer, transformer256."""
    seconds: float = 8.0
    """For everyone on every model; three rounds at least."""
    out: Path | None = None
    """A JSON file for the figures."""


def main(args: Args) -> None:
    unknown = sorted(set(args.models) - set(MODELS))
    jaxga.require(not unknown, f"models {unknown} are none of {list(MODELS)}: take some of these.")
    found = []
    for name in args.models:
        found.append(measure(name, args.seconds))
        report.print_table(found[-1]["rows"], found[-1]["title"])
        jax.clear_caches()
    figures = {"machine": describe_machine(), "models": found}
    if args.out:
        report.write_json(args.out, figures)
    else:
        print(json.dumps(figures))


if __name__ == "__main__":
    report.run_command(main, Args)
