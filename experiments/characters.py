"""Evolve a small transformer that writes characters: English prose, or brackets that must match.

`--task text`: the network learns the next character of the documentation that Python brings along. It begins with
random weights. Its validation loss stands beside simple guesses, and beside the same network trained by Adam.

`--task brackets`: Adam first trains the network on strings of brackets, a part of which are wrong. Then evolution
goes on from these weights. Its fitness is the part of the strings written by the network that are valid, which has no
gradient.

In both tasks children are of low rank, and all of them are averaged by rank, as in mnist.py.
"""

import hashlib
import importlib
import inspect
import math
import pydoc_data.topics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import experiment
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen

import jaxga
from jaxga import baselines, compilation, report, variation
from jaxga.base import require_at_least, require_whole
from jaxga.tree import iota

# Of the standard library, on every system.
MODULES = (
    "argparse", "ast", "asyncio", "base64", "bisect", "calendar", "codecs", "collections", "configparser",
    "contextlib", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib", "dis", "email", "enum",
    "fractions", "functools", "glob", "gzip", "heapq", "html", "http.client", "inspect", "io", "itertools", "json",
    "logging", "math", "operator", "os", "pathlib", "pickle", "pprint", "queue", "random", "re", "sched",
    "selectors", "shutil", "socket", "statistics", "string", "struct", "subprocess", "tarfile", "tempfile",
    "textwrap", "threading", "timeit", "tokenize", "traceback", "typing", "unittest", "urllib.parse",
    "urllib.request", "uuid", "warnings", "weakref", "zipfile",
)  # fmt: skip
ALPHABET = "\n" + "".join(chr(code) for code in range(32, 127))
HELD_OUT = 0.1  # of the text, its end
UNSEEN = 256  # stretches of the held-out text that a validation takes
STRINGS = 256  # of brackets, that a validation takes,
TESTED = 2048  # and that the test takes
STUDIED = 64  # and that Adam takes for a step
END = 0  # the token that ends a string, and that stands before it
# What suits each task, where an option is not given.
DEFAULTS: dict[str, dict[str, Any]] = {
    "text": {
        "context": 64, "batch": 1, "children": 512, "sigma": 0.02, "stretch": 1.2, "adam": 1000, "generations": 1000,
        "anneal": 1000,
    },
    "brackets": {
        "context": 13, "batch": 64, "children": 128, "sigma": 0.02, "stretch": 1.5, "adam": 1000, "generations": 100,
        "anneal": 100,
    },
}  # fmt: skip


@experiment.own_first
@dataclass
class Args(experiment.Series):
    task: Literal["text", "brackets"] = "text"
    """Learn the documentation of Python from random weights; or write valid strings of brackets, from trained ones."""
    layers: int = 2
    """Blocks of attention and a perceptron."""
    width: int = 128
    """Numbers that stand for a character between the layers."""
    heads: int = 4
    """Of attention in each block; they divide the width."""
    context: int | None = None
    """Characters that the network sees: a stretch of text, 64 by default; or the longest string of brackets with its
    end, 13 by default."""
    batch: int | None = None
    """Stretches of text that a child is scored on, 1 by default; or strings that it writes, 64 by default."""
    children: int | None = None
    """Children of a generation; all of them make the next parent."""
    rank: int = 1
    """Of the mutation."""
    sigma: float | None = None
    """Step size, relative to the scale of a layer at initialisation."""
    anneal: int | None = None
    """Generations over which step sizes fall, like a cosine, to a fiftieth. 0 leaves them as they are."""
    stretch: float | None = None
    """Length of the averaged step in steps of one child, as far as those are independent."""
    adam: int | None = None
    """Steps of Adam, 1,000 by default: on the text to compare with, where 0 leaves it out; on brackets before evolution
    begins."""
    rate: float = 1e-3
    """Of Adam."""
    kinds: int = 2
    """Of brackets, 1 to 3."""
    invalid: float = 0.5
    """The part of the strings for Adam in which one bracket was replaced by a wrong one."""
    shortest: int = 6
    """Brackets that a string must have to count. Without this, evolution learns to write short ones: 2."""
    generations: int | None = None
    """At most so many."""
    seconds: float | None = None
    """Stop after so many seconds of evolution."""
    validate_every: int = 10
    """Generations from one validation to the next."""
    chunk: int | None = None
    """Children scored at once; by default by a rule."""
    seed: int = 0
    """Of the first run. What Adam does follows from it, too."""
    seeds: int = 1
    """Independent runs, each in a directory of its own; on brackets all begin with the same trained weights."""
    explain: bool = False
    """Only say which weights of a child are built while it is scored, and for what."""
    out: Path | None = None
    """Where the files go; default runs/characters/<id>."""


# The network.


class Block(linen.Module):
    """Characters look at those before them, and then each is worked on alone."""

    heads: int
    decode: bool

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width, count = x.shape[-1], x.shape[1]
        mask = None if self.decode else linen.make_causal_mask(jnp.ones((1, count), jnp.int32))
        attention = linen.MultiHeadDotProductAttention(num_heads=self.heads, decode=self.decode)
        x = x + attention(linen.LayerNorm()(x), mask=mask)
        return x + linen.Dense(width)(linen.gelu(linen.Dense(4 * width)(linen.LayerNorm()(x))))


class Transformer(linen.Module):
    """From tokens ``[B, n]`` to logits ``[B, n, alphabet]`` of the token after each.

    With ``decode`` it gets one token of each string at a time, ``place`` says which one it is, and what was said of
    those before is kept in the collection "cache". The parameters are the same.
    """

    alphabet: int
    layers: int = 2
    width: int = 128
    heads: int = 4
    context: int = 64
    decode: bool = False

    @linen.compact
    def __call__(self, tokens: jax.Array, place: Any = 0) -> jax.Array:
        places = self.param("places", linen.initializers.normal(0.02), (self.context, self.width))
        here = jax.lax.dynamic_slice_in_dim(places, place, tokens.shape[1])
        x = linen.Embed(self.alphabet, self.width)(tokens) + here
        for _ in range(self.layers):
            x = Block(self.heads, self.decode)(x)
        return linen.Dense(self.alphabet)(linen.LayerNorm()(x))


def network(args: Args, alphabet: int) -> Transformer:
    """The one that the arguments describe."""
    require_whole(1, layers=args.layers, width=args.width, heads=args.heads, context=settled(args.context))
    jaxga.require(
        args.width % args.heads == 0,
        f"heads is {args.heads}, and must divide the width, {args.width}.",
    )
    return Transformer(alphabet, args.layers, args.width, args.heads, settled(args.context))


def logits_of(net: Transformer, params: Any, tokens: jax.Array) -> jax.Array:
    """What the network says of whole strings at once."""
    return cast(jax.Array, net.apply(params, tokens))


def nats(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """Minus the log-probability of each target: ``[..., A]`` and ``[...]`` to ``[...]``."""
    chosen = targets[..., None] == iota(logits.shape[-1])
    return jax.nn.logsumexp(logits, axis=-1) - jnp.sum(jnp.where(chosen, logits, 0), axis=-1)


# Text.


class Text(NamedTuple):
    """Characters as their places in `ALPHABET`, uint8."""

    train: np.ndarray
    held_out: np.ndarray


@cache
def read_text() -> Text:
    """What Python documents itself with, every paragraph once, cut where the held-out end begins.

    Its parts stand in an order that has nothing to do with what they are about, so that the end is of the same kind
    as the rest. Another version of Python has another text.
    """
    parts = sorted({*docstrings(), *pydoc_data.topics.topics.values()}, key=_digest)
    paragraphs = dict.fromkeys(paragraph.rstrip() for part in parts for paragraph in part.split("\n\n"))
    known = {character: number for number, character in enumerate(ALPHABET)}
    tokens = np.array([known[c] for c in "\n\n".join(filter(None, paragraphs)) if c in known], np.uint8)
    cut = len(tokens) - round(HELD_OUT * len(tokens))
    return Text(tokens[:cut], tokens[cut:])


def docstrings() -> Iterator[str]:
    """Of the modules, their public functions and classes, and the public methods of those."""
    for name in MODULES:
        module = importlib.import_module(name)
        yield inspect.getdoc(module) or ""
        for thing in _public(module):
            if inspect.isroutine(thing) or inspect.isclass(thing):
                yield inspect.getdoc(thing) or ""
            for method in _public(thing) if inspect.isclass(thing) else ():
                yield inspect.getdoc(method) or "" if inspect.isroutine(method) else ""


def _public(owner: Any) -> Iterator[Any]:
    named = getattr(owner, "__all__", vars(owner))
    return (thing for name, thing in sorted(vars(owner).items()) if name in named and not name.startswith("_"))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="replace")).digest()


def guesses(tokens: np.ndarray) -> dict[str, float]:
    """Nats a character of who knows nothing, who knows how frequent characters are, and how frequent pairs of them.

    >>> [round(value / math.log(2), 3) for value in guesses(np.array([0, 1] * 500)).values()]
    [6.585, 1.0, 0.0]
    """
    size = len(ALPHABET)
    pairs = np.bincount(tokens[:-1].astype(int) * size + tokens[1:], minlength=size**2).reshape(size, size)
    singles = np.bincount(tokens, minlength=size)
    both, before = _entropy(pairs.ravel()), _entropy(pairs.sum(axis=1))
    return {"uniform guess": math.log(size), "single characters": _entropy(singles), "pairs": both - before}


def _entropy(counts: np.ndarray) -> float:
    shares = counts[counts > 0] / counts.sum()
    return float(-np.sum(shares * np.log(shares)))


def text_task(args: Args, text: Text) -> jaxga.Task:
    """Predict each next character of stretches of text; all children of a generation get the same ones."""
    net = network(args, len(ALPHABET))
    n, batch = settled(args.context), settled(args.batch)
    require_whole(1, batch=batch)
    jaxga.require(n < len(text.held_out), f"context is {n}, and {len(text.held_out)} characters are held out.")
    train = jnp.asarray(text.train)
    starts = np.linspace(0, len(text.held_out) - n - 1, UNSEEN).astype(int)
    unseen = jnp.asarray(text.held_out[starts[:, None] + np.arange(n + 1)])

    def mean_nats(params: Any, stretches: jax.Array) -> jax.Array:
        tokens = stretches.astype(jnp.int32)
        return jnp.mean(nats(logits_of(net, params, tokens[:, :-1]), tokens[:, 1:]))

    def loss(key: jax.Array, params: Any) -> jax.Array:
        first = jax.random.randint(key, (batch, 1), 0, len(text.train) - n, jnp.int32)
        return mean_nats(params, train[first + iota(n + 1)])

    def validate(params: Any) -> jaxga.Evaluation:
        # A part at a time, so that what the layers make of it stays in a cache.
        found = jnp.mean(jax.lax.map(lambda part: mean_nats(params, part), unseen.reshape(-1, 16, n + 1)))
        return jaxga.Evaluation(-found, metrics={"nats": found})

    return jaxga.Task(
        lambda key: net.init(key, jnp.zeros((1, n), jnp.int32)),
        lambda key, params: jaxga.Evaluation(-loss(key, params)),
        loss=loss,
        validate=validate,
    )


# Brackets. Token 0 ends a string, 1 to K open brackets of K kinds, K + 1 to 2 K close them.


def grammar(key: jax.Array, kinds: int, longest: int) -> jax.Array:
    """A balanced string ``[longest]`` of at least one pair, filled up with `END`."""
    key_length, key_kind, key_turn = jax.random.split(key, 3)
    length = 2 * jax.random.randint(key_length, (), 1, longest // 2 + 1, jnp.int32)
    kind = jax.random.randint(key_kind, (longest,), 0, kinds, jnp.int32)
    turn = jax.random.bernoulli(key_turn, 0.5, (longest,))
    places = iota(longest // 2)

    def write(carry: Any, drawn: Any) -> Any:
        stack, depth = carry
        place, kind, turn = drawn
        opens = (depth == 0) | (turn & (depth < length - place))
        last = jnp.sum(jnp.where(places == depth - 1, stack, 0))
        stack = jnp.where(opens & (places == depth), kind, stack)
        token = jnp.where(opens, 1 + kind, 1 + kinds + last)
        inside = place < length
        return (stack, depth + jnp.where(opens, 1, -1)), jnp.where(inside, token, END)

    start = jnp.zeros(longest // 2, jnp.int32), jnp.int32(0)
    return jax.lax.scan(write, start, (iota(longest), kind, turn))[1]


def spoiled(key: jax.Array, tokens: jax.Array, kinds: int) -> jax.Array:
    """The string with one of its brackets replaced by another one, after which it is never balanced."""
    key_place, key_shift = jax.random.split(key)
    place = jax.random.randint(key_place, (), 0, length_of(tokens), jnp.int32)
    shift = jax.random.randint(key_shift, (), 1, 2 * kinds, jnp.int32)
    return jnp.where(iota(tokens.size) == place, 1 + (tokens - 1 + shift) % (2 * kinds), tokens)


def length_of(tokens: jax.Array) -> jax.Array:
    """Brackets before the first `END`."""
    return jnp.sum(jnp.cumsum(tokens == END, dtype=jnp.int32) == 0, dtype=jnp.int32)


def valid(tokens: jax.Array, kinds: int) -> jax.Array:
    """Does the string ``[n]`` end, and are its brackets balanced? An empty one is not valid.

    A scan reads it with a stack: an opening bracket is put on top, a closing one must be of the kind on top.
    """
    places = iota(tokens.size)

    def read(carry: Any, token: jax.Array) -> Any:
        stack, depth, fine, ended = carry
        ended |= token == END
        opens = token <= kinds
        top = jnp.sum(jnp.where(places == depth - 1, stack, 0))
        fits = opens | ((depth > 0) & (token - kinds == top))
        stack = jnp.where(opens & (places == depth), token, stack)
        after = stack, depth + jnp.where(opens, 1, -1), fine & fits, ended
        return jax.tree.map(partial(jnp.where, ended), (*carry[:3], ended), after), None

    start = jnp.zeros(tokens.size, jnp.int32), jnp.int32(0), jnp.bool_(True), jnp.bool_(False)
    _, depth, fine, ended = jax.lax.scan(read, start, tokens)[0]
    return fine & ended & (depth == 0) & (tokens[0] != END)


def writer(net: Transformer) -> Callable[[jax.Array, Any, int], jax.Array]:
    """``(key, params, count) -> tokens [count, context]``: strings that the network writes, token after token."""
    one_by_one = net.clone(decode=True)
    shapes = jax.eval_shape(one_by_one.init, jax.random.key(0), jnp.zeros((1, net.context), jnp.int32))["cache"]

    def write(key: jax.Array, params: Any, count: int) -> jax.Array:
        def step(carry: Any, place: jax.Array) -> Any:
            seen, tokens = carry
            variables = {**params, "cache": seen}
            logits, changed = one_by_one.apply(variables, tokens[:, None], place, mutable=["cache"])
            logits = cast(jax.Array, logits)[:, 0]
            # The largest of logits plus Gumbel noise is a draw from the softmax. All children have the same noise.
            drawn = logits + jax.random.gumbel(jax.random.fold_in(key, place), logits.shape, logits.dtype)
            tokens = jnp.argmax(drawn, axis=-1).astype(jnp.int32)
            return (changed["cache"], tokens), tokens

        nothing = jax.tree.map(lambda leaf: jnp.zeros(((count,) * leaf.ndim)[:1] + leaf.shape[1:], leaf.dtype), shapes)
        start = nothing, jnp.full(count, END, jnp.int32)
        return jax.lax.scan(step, start, iota(net.context))[1].T

    return write


def brackets_task(args: Args) -> jaxga.Task:
    """Write valid strings. The loss, which Adam descends, is that of strings of the grammar, some of them spoiled."""
    require_at_least(0, invalid=args.invalid)
    jaxga.require(args.invalid <= 1, f"invalid is {args.invalid}, and must be 1 or less.")
    require_whole(1, kinds=args.kinds)
    jaxga.require(args.kinds <= 3, f"kinds is {args.kinds}, and must be 3 or less.")
    net, kinds = network(args, 1 + 2 * args.kinds), args.kinds
    context, batch = settled(args.context), settled(args.batch)
    require_whole(1, batch=batch)
    require_whole(3, context=context)
    require_whole(2, shortest=args.shortest)
    jaxga.require(
        args.shortest < context,
        f"shortest is {args.shortest}, and the longest string has {context - 1} brackets: take fewer, or more context.",
    )

    def draw(key: jax.Array) -> jax.Array:
        key_string, key_choice, key_place = jax.random.split(key, 3)
        tokens = grammar(key_string, kinds, context - 1)
        return jnp.where(jax.random.bernoulli(key_choice, args.invalid), spoiled(key_place, tokens, kinds), tokens)

    def mean_nats(key: jax.Array, params: Any, count: int) -> jax.Array:
        tokens = jax.vmap(draw)(jax.random.split(key, count))
        ends = jnp.full((count, 1), END, jnp.int32)
        read, wanted = jnp.concatenate([ends, tokens], axis=1), jnp.concatenate([tokens, ends], axis=1)
        each = nats(logits_of(net, params, read), wanted)
        inside = iota(context) <= jax.vmap(length_of)(tokens)[:, None]
        return jnp.sum(jnp.where(inside, each, 0)) / jnp.sum(inside.astype(jnp.float32))

    write = writer(net)

    def judged(tokens: jax.Array) -> dict[str, jax.Array]:
        fine, length = jax.vmap(partial(valid, kinds=kinds))(tokens), jax.vmap(length_of)(tokens)
        found = {"counted": fine & (length >= args.shortest), "valid": fine, "length": length}
        return {name: jnp.mean(each.astype(jnp.float32)) for name, each in found.items()}

    def validate(params: Any) -> jaxga.Evaluation:
        found = judged(write(jax.random.key(1), params, STRINGS))
        return jaxga.Evaluation(found["counted"], metrics=found)

    def test(params: Any) -> jaxga.Evaluation:
        key_write, key_strings = jax.random.split(jax.random.key(2))
        found = judged(write(key_write, params, TESTED))
        return jaxga.Evaluation(found["counted"], metrics={**found, "nats": mean_nats(key_strings, params, TESTED)})

    return jaxga.Task(
        lambda key: net.init(key, jnp.zeros((1, context), jnp.int32)),
        lambda key, params: jaxga.Evaluation(judged(write(key, params, batch))["counted"]),
        loss=lambda key, params: mean_nats(key, params, STUDIED),
        validate=validate,
        test=test,
    )


# Evolution, and what stands beside it.


def settled(value: Any) -> Any:
    """An option that `settle` has filled in."""
    assert value is not None
    return value


def settle(args: Args) -> None:
    """Fill in what suits the task, where the arguments leave it open."""
    for name, value in DEFAULTS[args.task].items():
        if getattr(args, name) is None:
            setattr(args, name, value)


def make(args: Args, start: Any = None) -> tuple[jaxga.Task, jaxga.Algorithm]:
    """The task, and low-rank children of one parent, all of them averaged by rank; ``start`` holds trained weights."""
    task = text_task(args, read_text()) if args.task == "text" else brackets_task(args)
    children, anneal = settled(args.children), settled(args.anneal)
    require_whole(2, children=children)
    require_whole(0, anneal=anneal)
    size = variation.relative(settled(args.sigma))
    if anneal:
        size = experiment.falling(size, anneal)
    founders = jaxga.common_founder if start is None else jaxga.trained_founders(start)
    return task, jaxga.ga(
        task.init, variation.low_rank(size, args.rank), parents=1, children=children,
        recombination=experiment.mean_of_all(children, settled(args.stretch)),
        founders=founders,
    )  # fmt: skip


class Trained(NamedTuple):
    """What Adam made of the network."""

    params: Any
    losses: np.ndarray  # before every step
    seconds: float


def descend(args: Args, task: jaxga.Task) -> Trained:
    """Adam, from random weights, by the loss of the task."""
    begun = time.monotonic()
    params, losses = baselines.gradient_descent(task, optax.adam(args.rate), settled(args.adam), args.seed)
    return Trained(params, np.asarray(losses), round(time.monotonic() - begun, 1))


def main(args: Args) -> None:
    if args.quick and not args.resume:
        args.layers, args.width, args.heads, args.context = 1, 16, 2, 16
        args.children, args.batch, args.generations, args.anneal = 32, 16, 20, 20
        args.adam, args.rate, args.kinds, args.shortest = 100, 1e-2, 2, 4
    settle(args)
    require_whole(args.task == "brackets", adam=settled(args.adam))
    task, algorithm = make(args)
    jax.eval_shape(algorithm.init, jax.random.key(0))  # what cannot work is refused before anything is written
    if args.explain:
        print(jaxga.explain(algorithm, task))
        return
    begin = None
    if args.task == "brackets":
        print(f"Adam trains the network on brackets: {args.adam} steps ...")
        begin = descend(args, task)
        task, algorithm = make(args, begin.params)
    out, results = experiment.run_seeds(
        args, "characters", task, algorithm, generations=settled(args.generations),
        validate_every=args.validate_every, chunk=args.chunk,
    )  # fmt: skip
    show = show_text if begin is None else partial(show_brackets, begin)
    headline = {"task": args.task, "seeds": args.seeds, **show(args, task, results, out / "characters.png")}
    experiment.conclude(args, "characters", out, results, headline)


def show_text(args: Args, task: jaxga.Task, results: list[jaxga.Result], path: Path) -> dict[str, Any]:
    """Print and draw how well held-out text is predicted; returns it for summary.json."""
    assert task.validate is not None
    judge, text = compilation.jit(task.validate), read_text()
    known = guesses(text.train)
    rows = [row(name, value) for name, value in known.items()]
    reached = [float(judge(result.best.params).metrics["nats"]) for result in results]
    for number, (result, found) in enumerate(zip(results, reached, strict=True)):
        rows.append(row(f"evolution, seed {args.seed + number}", found, result.generations, result.seconds))
    lines = dict(list(known.items())[1:])
    if args.adam:
        adam = descend(args, task)
        rows.append(row("Adam", float(judge(adam.params).metrics["nats"]), settled(args.adam), adam.seconds))
        lines["Adam"] = rows[-1]["nats"]
    count = len(text.train)
    title = f"Cost of a held-out character: {results[-1].stopped_because}"
    report.print_table(rows, title)
    plot(results, "validation_nats", lines, "nats a character, held out", path, "Predicting documentation")
    return {"nats": float(np.median(reached)), "characters": count, "all": rows}


def row(name: str, found: float, steps: Any = "", seconds: Any = "") -> dict[str, Any]:
    """Of the table: nats and bits a character."""
    taken = round(seconds, 1) if seconds else ""
    return {"": name, "nats": found, "bits": found / math.log(2), "steps": steps, "seconds": taken}


def show_brackets(
    begin: Trained, args: Args, task: jaxga.Task, results: list[jaxga.Result], path: Path
) -> dict[str, Any]:
    """Print and draw what part of fresh strings is valid, before and after evolution; returns it for summary.json."""
    assert task.test is not None
    judge = compilation.jit(task.test)

    def judged(name: str, params: Any, steps: int, seconds: float) -> dict[str, Any]:
        found = {metric: float(value) for metric, value in judge(params).metrics.items()}
        return {"": name, **found, "steps": steps, "seconds": round(seconds, 1)}

    rows = [judged("before: Adam", begin.params, settled(args.adam), begin.seconds)]
    for number, result in enumerate(results):
        name = f"after evolution, seed {args.seed + number}"
        rows.append(judged(name, result.best.params, result.generations, result.seconds))
    title = f"Valid strings of {args.shortest} brackets or more count"
    report.print_table(rows, f"{title}, {TESTED:,} written: {results[-1].stopped_because}")
    before, after = rows[0]["counted"], [line["counted"] for line in rows[1:]]
    plot(results, "validation_counted", {"before": before}, "part that counts", path, title)
    return {"counted_before": before, "counted_after": float(np.median(after)), "all": rows}


def plot(results: list[jaxga.Result], name: str, lines: dict[str, float], ylabel: str, path: Path, title: str) -> None:
    """A validated metric against generations and seconds, with levels to compare it with."""
    panels = []
    for xlabel in ("generation", "seconds"):
        curves = []
        for number, result in enumerate(results):
            seen = ~np.isnan(result.history[name])
            label = "" if number else f"evolution, {result.summary()['evaluations_per_second']:,.0f} networks/s"
            curves.append(report.Curve(label, result.history[xlabel][seen], result.history[name][seen], color=0))
        ends = [0.0, max(float(result.history[xlabel][-1]) for result in results)]
        for number, (label, level) in enumerate(lines.items(), 1):
            curves.append(report.Curve(label, ends, np.full(2, level), "--", number))
        panels.append(({"xlabel": xlabel, "ylabel": ylabel}, curves))
    report.plot_curves(panels, path, title)


if __name__ == "__main__":
    report.run_command(main, Args)
