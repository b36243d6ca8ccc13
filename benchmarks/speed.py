"""How fast is a generation? jaxga against its peers on the same work, in turns, in one process.

``python -m benchmarks.speed`` takes a few minutes on two cores; ``--works b c`` runs some works alone. The peers are
the SimpleGA of evosax, a vmap of a flax network as one would write it by hand, and, where PyTorch is installed, one
network after the other.
"""

import importlib.util
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxga
from benchmarks import peers
from benchmarks.timing import Timing, ceiling, in_turns
from jaxga import compilation, data, nn, report, tasks, variation
from jaxga.devices import AXIS, Devices, everywhere, mesh
from jaxga.evaluate import Sharded
from jaxga.interpret import by_parts
from jaxga.lowrank import LowRank, is_low_rank, map_low_rank
from jaxga.report.files import describe_machine

SIGMA = 0.02
SAMPLE = 8  # children that PyTorch scores; its time is scaled up
RIVALS = "evosax SimpleGA", "vmap of flax"  # what ratios are against, if it takes part


@dataclass(frozen=True)
class Work:
    """The same for everyone: a network, random inputs with labels, and so many children of one parent."""

    title: str
    shape: tuple[int, ...]  # of one input
    examples: int
    children: int
    hidden: tuple[int, ...] = (128,)
    channels: tuple[int, ...] = ()  # of convolutions; none is a perceptron
    at_once: int | None = None  # children that a peer scores at once, where all of them do not fit
    dispatch: int = 1  # generations of jaxga in one call, as `jaxga.run` does as many as take about a second

    @property
    def network(self) -> nn.MLP | nn.ConvNet:
        """Of `jaxga.nn`."""
        return nn.ConvNet(10, self.channels, hidden=self.hidden[0]) if self.channels else nn.MLP((*self.hidden, 10))

    @property
    def plain(self) -> peers.Plain:
        """With the layers of flax."""
        return peers.Plain(self.hidden, self.channels)

    def data(self) -> tuple[jax.Array, jax.Array]:
        """Random inputs and labels."""
        key_inputs, key_labels = jax.random.split(jax.random.key(1))
        inputs = jax.random.normal(key_inputs, (self.examples, *self.shape))
        return inputs, jax.random.randint(key_labels, (self.examples,), 0, 10)

    def operations(self) -> float:
        """Of the matrix products of a generation in which every child is a network of its own."""
        sample = jnp.zeros((1, *self.shape))
        params = jax.eval_shape(self.network.init, jax.random.key(0), sample)
        cost = jax.jit(self.network.apply).lower(params, sample).compile().cost_analysis() or {}
        return cost["flops"] * self.examples * self.children


CHANNELS = (32, 64, 64)
WORKS = {
    "a": Work("(a) MLP 128-128-10, 64 vectors, 1,024 children", (128,), 64, 1024, dispatch=16),
    "b": Work("(b) MLP 784-128-10, 500 images, 1,024 children", (784,), 500, 1024, dispatch=4),
    "b4": Work("(b) MLP 784-128-10, 500 images, 4,096 children", (784,), 500, 4096, at_once=1024),
    "c": Work("(c) MLP 784-128-10, 60,000 images, 256 children", (784,), 60_000, 256, at_once=16),
    "d": Work("(d) 605,866 weights, 64 images, 256 children", (64, 64, 3), 64, 256, (512,), CHANNELS),
    "e": Work("(e) Atari network, one step of 64 children", (84, 84, 4), 1, 64, (512,), CHANNELS),
}


def program(work: Work, mutation: jaxga.Variation, devices: Devices | None = None) -> tuple[jaxga.Algorithm, Sharded]:
    """One parent and its children, on all devices."""
    inputs, labels = map(np.asarray, work.data())
    images = data.Images(inputs, labels, inputs[:1], labels[:1])
    task = tasks.classification(work.network, images, normalise=False)
    algorithm = jaxga.ga(task.init, mutation, parents=1, children=work.children)
    return algorithm, jaxga.sharded(jaxga.vmapped(algorithm, task), devices)


def generation(work: Work, mutation: jaxga.Variation, devices: Devices | None = None) -> peers.Step:
    """One of jaxga: children, scores, selection, the next parent."""
    algorithm, evaluator = program(work, mutation, devices)

    def several(state: jaxga.State) -> jaxga.State:
        one = lambda _, state: algorithm.update(state, evaluator(state))[0]  # noqa: E731
        return jax.lax.fori_loop(0, work.dispatch, one, state)

    step = compilation.jit(several, evaluator.mesh)
    return peers.repeated(step, everywhere(jax.jit(algorithm.init)(jax.random.key(0)), evaluator.mesh))


def policies(work: Work) -> dict[str, peers.Step]:
    """One observation for each child, as in a game: children are there already, and act."""
    network, plain = work.network, work.plain
    inputs = jax.random.normal(jax.random.key(1), (work.children, 1, *work.shape))
    mutation = variation.low_rank(variation.relative(SIGMA))
    algorithm = jaxga.ga(lambda key: network.init(key, inputs[0]), mutation, parents=1, children=work.children)
    state = jax.jit(algorithm.init)(jax.random.key(0))

    def child(member: jax.Array) -> Any:
        return algorithm.offspring(state, 0, member).params

    across, share = mesh(), PartitionSpec(AXIS)
    axes = _of_child(jax.eval_shape(child, 0), None, 0)
    places = _of_child(jax.eval_shape(child, 0), PartitionSpec(), share)
    act = jax.vmap(by_parts(network.apply), in_axes=(axes, 0))
    act_low = jax.jit(jax.shard_map(act, mesh=across, in_specs=(places, share), out_specs=share, check_vma=False))
    low_rank = jax.jit(jax.vmap(child, out_axes=axes))(jnp.arange(work.children))
    low_rank, own = jax.device_put((low_rank, inputs), _shardings(across, (places, share)))
    shared = plain.init(jax.random.key(0), inputs[0])
    full = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (work.children, *leaf.shape)) + 0, shared)
    act_plain, act_shared = jax.jit(jax.vmap(plain.apply)), jax.jit(plain.apply)
    return {
        "jaxga, low-rank": lambda: act_low(low_rank, own),
        "vmap of flax": lambda: act_plain(full, inputs),
        "one network for all": lambda: act_shared(shared, inputs[:, 0]),
    }


def _of_child(child: Any, shared: Any, own: Any) -> Any:
    """``shared`` for what a low-rank child has from its parent, ``own`` for the rest."""
    return map_low_rank(lambda leaf: LowRank(shared, own, own) if is_low_rank(leaf) else own, child)


def _shardings(across: Mesh, specs: Any) -> Any:
    leaf = lambda node: isinstance(node, PartitionSpec)  # noqa: E731
    return jax.tree.map(lambda spec: NamedSharding(across, spec), specs, is_leaf=leaf)


def generations(work: Work) -> dict[str, peers.Step]:
    """A generation of everyone."""
    size = variation.relative(SIGMA)
    the_same = work.plain, work.data(), work.children, SIGMA
    steps = {
        "jaxga, low-rank": generation(work, variation.low_rank(size)),
        "jaxga, Gaussian": generation(work, variation.gaussian(size)),
        "evosax SimpleGA": peers.evosax(*the_same, work.at_once or work.children),
        "vmap of flax": peers.by_hand(*the_same, work.at_once or work.children),
    }
    if importlib.util.find_spec("torch"):
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # its threads would keep a core busy in the turn of others
        steps["PyTorch, one by one"] = peers.torch_one_by_one(work.plain, work.data(), SAMPLE, SIGMA)
    return steps


def compare(name: str, seconds: float) -> dict[str, Any]:
    """Everyone on one work, in turns, and the ceiling beside them."""
    work, limit = WORKS[name], ceiling()
    if name == "e" and jax.default_backend() != "cpu":
        work = replace(work, title=work.title.replace("64 children", "1,000 children"), children=1000)
    timings = in_turns(policies(work) if name == "e" else generations(work), seconds)
    rival = next(timings[who].median for who in RIVALS if who in timings)
    rows = [_row(who, timing, work, rival, limit.flops) for who, timing in timings.items()]
    return {"work": name, "title": work.title, **limit._asdict(), "rows": rows}


def _row(who: str, timing: Timing, work: Work, rival: float, flops: float) -> dict[str, Any]:
    seconds = timing.median
    if "PyTorch" in who:
        seconds *= work.children / SAMPLE
    if "jaxga" in who:
        seconds /= work.dispatch
    dense = work.operations() / seconds / flops  # a low-rank child is never built, and needs fewer
    return {
        "who": who, "ms": round(1e3 * seconds, 2), "times as fast": round(rival / seconds, 2),
        "dense operations, of the ceiling": f"{dense:.0%}", "first call, s": round(timing.first, 1),
        "calls": timing.calls,
    }  # fmt: skip


@dataclass
class Args:
    works: tuple[str, ...] = ("a", "b", "d", "e")
    """Of a, b, b4, c, d and e. For b4 and c the peers need many minutes."""
    seconds: float = 10.0
    """For everyone on every work; three rounds at least."""
    out: Path | None = None
    """A JSON file for the figures."""


def main(args: Args) -> None:
    unknown = sorted(set(args.works) - set(WORKS))
    jaxga.require(not unknown, f"works {unknown} are none of {list(WORKS)}: take some of these.")
    found = []
    for name in args.works:
        found.append(compare(name, args.seconds))
        limits = f"{found[-1]['flops'] / 1e9:.0f} GFLOP/s, {found[-1]['bytes'] / 1e9:.1f} GB/s"
        report.print_table(found[-1]["rows"], f"{found[-1]['title']}; ceiling {limits}")
        jax.clear_caches()
    figures = {"machine": describe_machine(), "works": found}
    if args.out:
        report.write_json(args.out, figures)
    else:
        print(json.dumps(figures))


if __name__ == "__main__":
    report.run_command(main, Args)
