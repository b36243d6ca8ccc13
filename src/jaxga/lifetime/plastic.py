"""Plastic networks: their weights change within a life, by a rule that is inherited."""

import itertools
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jaxga.base import Evaluation, Key, Params, Task, common, require, require_at_least, require_whole
from jaxga.lifetime.learning import unseen_lives
from jaxga.lifetime.lives import Examples
from jaxga.tasks.control import Action, Box, Environment, Policy, greedy, squashed
from jaxga.tasks.losses import cross_entropy, right
from jaxga.tree import iota

Weights = tuple[jax.Array, ...]


class Rule(NamedTuple):
    """A local learning rule for the weights ``[m, n]`` between two layers.

    ``change: (genes, weights [m, n], before [m], after [n]) -> [m, n]`` returns what is added to the weights.
    ``before`` and ``after`` are the activations of the two layers.
    """

    init: Callable[[Key, tuple[int, int]], Params]  # (key, (m, n)) -> genes of the rule
    change: Callable[[Params, jax.Array, jax.Array, jax.Array], jax.Array]  # the change of the weights, [m, n]


def hebbian(per: Literal["connection", "neuron", "layer"] = "connection") -> Rule:
    """The ABCD rule: ``rate * (A before after + B before + C after + D)``.

    It was used by Soltoggio et al. (2007) and by Najarro and Risi (2020). It has five genes: rate, A, B, C and D.

    Args:
      per: "connection" (default) has five genes for each connection, "neuron" five for each neuron of the layer to
        which connections lead, "layer" five for all connections between two layers.

    Raises:
      InputError: if ``per`` is another word.

    >>> genes = hebbian("layer").init(jax.random.key(0), (3, 2))
    >>> {name: gene.shape for name, gene in genes.items()}["A"]
    (1, 1)
    """
    require(per in ("connection", "neuron", "layer"), f"per is {per!r}: take 'connection', 'neuron' or 'layer'.")

    def init(key: Key, shape: tuple[int, int]) -> Params:
        size = {"connection": shape, "neuron": (1, shape[1]), "layer": (1, 1)}[per]
        drawn = jax.random.normal(key, (4, *size), jnp.float32)
        return {"rate": jnp.full(size, 0.1, jnp.float32), **dict(zip("ABCD", drawn, strict=True))}

    def change(genes: Params, weights: jax.Array, before: jax.Array, after: jax.Array) -> jax.Array:
        del weights
        before = before[:, None]
        return genes["rate"] * (genes["A"] * before * after + genes["B"] * before + genes["C"] * after + genes["D"])

    return Rule(init, change)


def change_by_network(hidden: int = 8, rate: float = 0.1) -> Rule:
    """A rule in which a small network computes the change of each connection.

    All connections between two layers share one small network. Its four inputs are the activation before the
    connection, the weight, the activation after it, and the mean activation of the layer before. So its size does not
    depend on the sizes of the layers.

    Args:
      hidden: tanh units of its one hidden layer, by default 8.
      rate: largest absolute change of a weight, by default 0.1; it multiplies the tanh output.

    Raises:
      InputError: if ``hidden`` is below 1, or ``rate`` is negative.
    """
    require_whole(1, hidden=hidden)
    require_at_least(0, rate=rate)

    def init(key: Key, shape: tuple[int, int]) -> Params:
        del shape
        key_first, key_last = jax.random.split(key)
        return {
            "first": jax.random.normal(key_first, (4, hidden), jnp.float32) / 2,
            "bias": jnp.zeros(hidden, jnp.float32),
            "last": jax.random.normal(key_last, (hidden,), jnp.float32) / hidden**0.5,
        }

    def change(genes: Params, weights: jax.Array, before: jax.Array, after: jax.Array) -> jax.Array:
        everywhere = jnp.zeros_like(weights)
        seen = [everywhere + before[:, None], weights, everywhere + after, everywhere + jnp.mean(before)]
        inner = jnp.tanh(jnp.stack(seen, axis=-1) @ genes["first"] + genes["bias"])
        return rate * jnp.tanh(inner @ genes["last"])

    return Rule(init, change)


class Plastic(NamedTuple):
    """A network whose weights change within a life, as pure functions of ONE life.

    Genes evolve, and weights are made of them in each life. ``forward`` returns the activations of all layers, inputs
    first and outputs last.
    """

    init: Callable[[Key], Params]  # (key) -> genes
    start: Callable[[Params, Key], Weights]  # (genes, key) -> weights at the start of a life
    forward: Callable[[Weights, jax.Array], tuple[jax.Array, ...]]  # (weights, inputs) -> activations of each layer
    change: Callable[[Params, Weights, tuple[jax.Array, ...]], Weights]  # (genes, weights, activations) -> weights
    outputs: int  # number of outputs among the last activations; with modulation one more neuron follows them

    def policy(self, environment: Environment, act: Callable[[Key, jax.Array], Action] | None = None) -> Policy:
        """A policy for `jaxga.tasks.control`. Its memory is the weights, which change after each step of an episode.

        Args:
          environment: whose actions it takes.
          act: ``(key, outputs [n]) -> action``, as for `jaxga.tasks.feedforward`. By default `greedy` for discrete
            actions and `squashed` for continuous ones.
        """
        actions = environment.actions
        choose = act or (squashed(actions) if isinstance(actions, Box) else greedy)

        def start(genes: Params, keys: Key) -> Weights:
            return jax.vmap(self.start, in_axes=(None, 0))(genes, keys)

        def step(genes: Params, weights: Weights, observation: jax.Array, key: Key) -> tuple[Weights, Action]:
            activations = self.forward(weights, observation)
            return self.change(genes, weights, activations), choose(key, activations[-1][: self.outputs])

        return Policy(self.init, start, jax.vmap(step, in_axes=(None, 0, 0, 0)))


def plastic(
    sizes: Sequence[int],
    rule: Rule | None = None,
    *,
    start: Literal["random", "evolved"] = "random",
    scale: float = 0.1,
    bounded: bool = True,
    modulated: bool = False,
    bias: bool = False,
) -> Plastic:
    """A multilayer perceptron whose weights change by a rule.

    Args:
      sizes: numbers of inputs, hidden units, outputs, such as (4, 16, 2). Outputs are linear, hidden layers use tanh.
      rule: the rule, by default ``hebbian()``. Each layer has its own genes.
      start: "random" (default) draws the initial weights of each life uniformly from -scale to scale, so only the rule
        is inherited. "evolved" inherits initial weights, too: genes are ``{"rule": ..., "weights": ...}``.
      scale: bound of the initial weights, by default 0.1.
      bounded: after each change, divide a layer by its largest absolute weight if that is above 1, by default True.
        (Najarro and Risi always divide.)
      modulated: add a neuron to the outputs that controls plasticity, by default False. Every change is multiplied by
        the tanh of its activation (Soltoggio et al. 2008). So a network can learn in some steps and not in others.
      bias: add an input that is always 1, by default False. Without it, outputs are 0 while all inputs are 0.

    Raises:
      InputError: if there are fewer than two sizes, or an argument is out of range.

    >>> network = plastic((3, 8, 2))
    >>> genes = network.init(jax.random.key(0))
    >>> weights = network.start(genes, jax.random.key(1))
    >>> after = network.change(genes, weights, network.forward(weights, jnp.ones(3)))
    >>> [layer.shape for layer in after], bool((after[0] != weights[0]).all())
    ([(3, 8), (8, 2)], True)
    """
    require_whole(1, **{f"sizes[{number}]": size for number, size in enumerate(sizes)})
    require(len(sizes) >= 2, f"sizes is {tuple(sizes)}: give at least the inputs and the outputs.")
    require(start in ("random", "evolved"), f"start is {start!r}: take 'random' or 'evolved'.")
    require_at_least(0, scale=scale)
    shapes = list(itertools.pairwise((sizes[0] + bias, *sizes[1:-1], sizes[-1] + modulated)))
    law = hebbian() if rule is None else rule

    def drawn(key: Key) -> Weights:
        keys = jax.random.split(key, len(shapes))
        return tuple(
            jax.random.uniform(one, shape, jnp.float32, -scale, scale) for one, shape in zip(keys, shapes, strict=True)
        )

    def init(key: Key) -> Params:
        key_rule, key_weights = jax.random.split(key)
        keys = jax.random.split(key_rule, len(shapes))
        genes = {"rule": tuple(law.init(one, shape) for one, shape in zip(keys, shapes, strict=True))}
        return genes | ({"weights": drawn(key_weights)} if start == "evolved" else {})

    def begin(genes: Params, key: Key) -> Weights:
        return genes["weights"] if start == "evolved" else drawn(key)

    def forward(weights: Weights, inputs: jax.Array) -> tuple[jax.Array, ...]:
        flat = inputs.reshape(-1)
        seen = [jnp.append(flat, jnp.ones(1, flat.dtype)) if bias else flat]
        for number, layer in enumerate(weights):
            outputs = seen[-1] @ layer
            seen.append(outputs if number == len(weights) - 1 else jnp.tanh(outputs))
        return tuple(seen)

    def change(genes: Params, weights: Weights, activations: tuple[jax.Array, ...]) -> Weights:
        changed, much = [], jnp.tanh(activations[-1][-1]) if modulated else jnp.float32(1)
        for own, layer, before, after in zip(genes["rule"], weights, activations[:-1], activations[1:], strict=True):
            new = layer + much * law.change(own, layer, before, after)
            changed.append(new / jnp.maximum(jnp.max(jnp.abs(new)), 1) if bounded else new)
        return tuple(changed)

    return Plastic(init, begin, forward, change, sizes[-1])


def taught(
    network: Plastic,
    lives: Callable[[Key], Examples],
    *,
    batches: int = 10,
    batch: int = 16,
    tested: int = 128,
    count: int = 1,
    key: Callable[[Key, jax.Array], Key] = common,
    validation_lives: int = 20,
) -> Task:
    """A task in which a plastic network learns from minibatches of labelled examples and then classifies others.

    The rule is applied to each example of a minibatch, and the new weights are the mean of the results. In this phase
    the rule sees an error signal in place of the activations of the last layer: the one-hot label minus the softmax of
    the outputs. Then weights are frozen. Fitness is minus the cross-entropy on ``tested`` other examples of the same
    life, and ``accuracy`` is logged.

    Args:
      network: from `plastic`, with C outputs.
      lives: ``(key) -> (key, n) -> (inputs, labels)``, such as ``relabelled(data.digits())``.
      batches: minibatches in a life, by default 10.
      batch: examples in a minibatch, by default 16.
      tested: examples to score on, by default 128.
      count: lives of a child in a generation, by default 1. Fitness is the mean over them.
      key: `common` (default) gives all children of a generation the same lives, `independent` each its own.
      validation_lives: number of lives of `Task.validate`, by default 20. They are the same in every validation, and
        are never used for fitness in the run.

    Raises:
      InputError: if a number is below 1.
    """
    require_whole(1, batches=batches, batch=batch, tested=tested, count=count, validation_lives=validation_lives)

    def live(genes: Params, key: Key) -> tuple[jax.Array, jax.Array]:
        key_life, key_start, key_shown, key_test = jax.random.split(key, 4)
        draw = lives(key_life)

        def show(weights: Weights, number: jax.Array) -> tuple[Weights, None]:
            inputs, labels = draw(jax.random.fold_in(key_shown, number), batch)

            def one(example: jax.Array, label: jax.Array) -> Weights:
                *inner, outputs = network.forward(weights, example)
                answers, more = jnp.split(outputs, [network.outputs])
                told = jax.nn.one_hot(label, network.outputs, dtype=jnp.float32) - jax.nn.softmax(answers)
                return network.change(genes, weights, (*inner, jnp.concatenate([told, more])))

            return jax.tree.map(lambda new: jnp.mean(new, axis=0), jax.vmap(one)(inputs, labels)), None

        weights, _ = jax.lax.scan(show, network.start(genes, key_start), iota(batches))
        inputs, labels = draw(key_test, tested)
        logits = jax.vmap(lambda example: network.forward(weights, example)[-1][: network.outputs])(inputs)
        accuracy = jnp.mean(right(logits, labels).astype(jnp.float32))
        return cross_entropy(key_test, logits, labels), accuracy

    def score(genes: Params, key: Key, lives: int) -> Evaluation:
        numbers = jax.vmap(lambda number: jax.random.fold_in(key, number))(iota(lives))
        fitness, accuracy = jax.lax.map(lambda key: live(genes, key), numbers, batch_size=min(lives, 8))
        return Evaluation(jnp.mean(fitness), metrics={"accuracy": jnp.mean(accuracy)})

    def validate(genes: Params) -> Evaluation:
        return score(genes, unseen_lives(), validation_lives)

    return Task(network.init, lambda key, genes: score(genes, key, count), key, validate=validate)
