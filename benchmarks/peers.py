"""The same generation in other hands. Each function returns a step that goes on from where the last one ended."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen

Step = Callable[[], Any]
KERNELS, STRIDES = (8, 4, 3), (4, 2, 1)  # of the Atari networks (Mnih et al. 2015)


class Plain(linen.Module):
    """The networks of jaxga.nn from flax's own layers."""

    hidden: Sequence[int]
    channels: Sequence[int] = ()

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for channels, size, stride in zip(self.channels, KERNELS, STRIDES, strict=False):
            x = linen.relu(linen.Conv(channels, (size, size), stride, "VALID")(x))
        x = x.reshape(x.shape[0], -1)
        for width in self.hidden:
            x = linen.relu(linen.Dense(width)(x))
        return linen.Dense(10)(x)


def loss(logits: Any, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def repeated(step: Callable[..., Any], carry: Any, *data: jax.Array) -> Step:
    """Each call goes on from where the last one ended."""

    def again() -> Any:
        nonlocal carry
        carry = step(carry, *data)
        return carry

    return again


def evosax(network: linen.Module, data: tuple[jax.Array, jax.Array], children: int, sigma: float, at_once: int) -> Step:
    """SimpleGA as its documentation has it: ask, a vmap over the population, tell; here all in one jit."""
    from evosax.algorithms import SimpleGA  # pyright: ignore[reportMissingImports]

    params = network.init(jax.random.key(0), data[0][:1])
    algorithm = SimpleGA(children, params, std_schedule=optax.constant_schedule(sigma))
    step = jax.jit(evosax_generation(algorithm, network, at_once), donate_argnums=0)
    return repeated(step, evosax_start(algorithm, params), *data)


def evosax_start(algorithm: Any, params: Any, seed: int = 0) -> tuple[jax.Array, Any]:
    """A key, and a state in which everyone is these params."""
    key_state, key = jax.random.split(jax.random.key(seed))
    config, children = algorithm.default_params, algorithm.population_size
    if not hasattr(algorithm, "get_population"):
        return key, algorithm.init(key_state, params, config)
    population = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (children, *leaf.shape)), params)
    return key, algorithm.init(key_state, population, jnp.zeros(children), config)


def evosax_generation(algorithm: Any, network: linen.Module, at_once: int) -> Callable[..., Any]:
    """``(carry, inputs, labels) -> carry`` of any of its algorithms."""

    def generation(carry: Any, inputs: jax.Array, labels: jax.Array) -> Any:
        key, state = carry
        key, key_ask, key_tell = jax.random.split(key, 3)
        population, state = algorithm.ask(key_ask, state, algorithm.default_params)
        score = lambda params: loss(network.apply(params, inputs), labels)  # noqa: E731
        fitness = jax.lax.map(score, population, batch_size=at_once)
        return key, algorithm.tell(key_tell, population, fitness, state, algorithm.default_params)[0]

    return generation


def by_hand(
    network: linen.Module, data: tuple[jax.Array, jax.Array], children: int, sigma: float, at_once: int
) -> Step:
    """All children in one array, noise on every leaf, a vmap; the best child is the next parent."""

    @jax.jit
    def step(carry: Any, inputs: jax.Array, labels: jax.Array) -> Any:
        key, parent = carry
        key, key_noise = jax.random.split(key)
        leaves, treedef = jax.tree.flatten(parent)
        broods = [
            leaf + sigma * jax.random.normal(leaf_key, (children, *leaf.shape))
            for leaf_key, leaf in zip(jax.random.split(key_noise, len(leaves)), leaves, strict=True)
        ]
        score = lambda params: loss(network.apply(params, inputs), labels)  # noqa: E731
        losses = jax.lax.map(score, treedef.unflatten(broods), batch_size=at_once)
        return key, treedef.unflatten(leaf[jnp.argmin(losses)] for leaf in broods)

    return repeated(step, (jax.random.key(2), network.init(jax.random.key(0), data[0][:1])), *data)


def torch_one_by_one(network: Plain, data: tuple[jax.Array, jax.Array], children: int, sigma: float) -> Step:
    """The way of the notes: one network after the other, in PyTorch."""
    import torch  # pyright: ignore[reportMissingImports]

    functional = torch.nn.functional
    inputs, labels = (torch.from_numpy(jax.device_get(array).copy()) for array in data)
    widths, side = list(network.channels), inputs.shape[1]
    shapes = []
    if widths:
        inputs = inputs.movedim(-1, 1).contiguous()
        for (before, after), size, stride in zip(
            itertools.pairwise([inputs.shape[1], *widths]), KERNELS, STRIDES, strict=True
        ):
            shapes.append((after, before, size, size))
            side = (side - size) // stride + 1
    first = side * side * widths[-1] if widths else math.prod(inputs.shape[1:])
    shapes += [(after, before) for before, after in itertools.pairwise([first, *network.hidden, 10])]
    parent = [(0.05 * torch.randn(shape), torch.zeros(shape[0])) for shape in shapes]

    def score() -> float:
        x = inputs
        for number, layer in enumerate(parent):
            kernel, bias = (weights + sigma * torch.randn_like(weights) for weights in layer)
            if kernel.ndim == 4:
                x = functional.conv2d(x, kernel, bias, STRIDES[number])
            else:
                x = functional.linear(x.flatten(1), kernel, bias)
            x = torch.relu(x) if number < len(parent) - 1 else x
        return float(functional.cross_entropy(x, labels.long()))

    def step() -> list[float]:
        with torch.no_grad():
            return [score() for _ in range(children)]

    return step
