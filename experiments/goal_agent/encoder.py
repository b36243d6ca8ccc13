"""States as short vectors: a plain autoencoder, a variational one, one whose codes are matched by MMD, or none."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import linen

from goal_agent.value import Learned
from jaxga.base import Key
from jaxga.lifetime.learning import updated

Kind = Literal["none", "plain", "vae", "mmd"]
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # of the kernel, times 2 d


class Autoencoder(linen.Module):
    """``states [n, d] -> (reconstructed [n, d], mean [n, code], log variance [n, code])``, drawn where there is a key.

    What is decoded is the difference from ``mean``, the average state.
    """

    size: int
    code: int
    hidden: int = 128

    def setup(self) -> None:
        """One hidden layer each way."""
        self.read, self.out = linen.Dense(self.hidden), linen.Dense(2 * self.code)
        self.unfold, self.paint = linen.Dense(self.hidden), linen.Dense(self.size)

    def encode(self, states: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and log variance of the codes."""
        mean, log_variance = jnp.split(self.out(jax.nn.relu(self.read(states))), 2, axis=-1)
        return mean, log_variance

    def __call__(self, states: jax.Array, average: jax.Array, noise: jax.Array) -> tuple[jax.Array, ...]:
        """``noise [n, code]`` times the standard deviation is added to the mean: zeros for no draw."""
        mean, log_variance = self.encode(states - average)
        code = mean + noise * jnp.exp(log_variance / 2)
        return average + self.paint(jax.nn.relu(self.unfold(code))), mean, log_variance, code


def kl_of_gaussians(mean: jax.Array, log_variance: jax.Array) -> jax.Array:
    """``KL(N(mean, sigma^2) || N(0, 1))``, summed over the code: ``(mean^2 + sigma^2 - 1 - log sigma^2) / 2``, ``[n]``.

    >>> [kl_of_gaussians(mean * jnp.ones((1, 3)), jnp.zeros((1, 3))).tolist() for mean in (0.0, 1.0)]
    [[0.0], [1.5]]
    """
    return jnp.sum(mean**2 + jnp.exp(log_variance) - 1 - log_variance, axis=-1) / 2


def mmd(one: jax.Array, other: jax.Array) -> jax.Array:
    """How different two samples ``[n, d]`` and ``[m, d]`` are: the squared maximum mean discrepancy, unbiased.

    ``E k(x, x') + E k(y, y') - 2 E k(x, y)`` with kernels ``c / (c + |x - y|^2)``, whose heavy tails still pull what
    lies far away (Tolstikhin et al. 2018). It is 0 on average where both are drawn alike.
    """
    width = 2.0 * one.shape[1]

    def kernel(x: jax.Array, y: jax.Array) -> jax.Array:
        away = jnp.sum((x[:, None] - y[None]) ** 2, axis=-1)
        return sum((scale * width / (scale * width + away) for scale in SCALES), jnp.zeros_like(away))

    def within(x: jax.Array) -> jax.Array:
        pairs = kernel(x, x)
        return (jnp.sum(pairs) - jnp.trace(pairs)) / (len(x) * (len(x) - 1))

    return within(one) + within(other) - 2 * jnp.mean(kernel(one, other))


def pixel_weights(states: jax.Array, average: jax.Array, stress: float) -> jax.Array:
    """``1 + stress * (state - average)^2 / mean``: what departs from the average state counts more, ``[n, d]``."""
    departs = (states - average) ** 2
    return 1 + stress * departs / (jnp.mean(departs, axis=1, keepdims=True) + 1e-6)


class Encoder(NamedTuple):
    """States to codes, and how that is learned."""

    init: Callable[[Key], Learned]
    code: Callable[[Any, jax.Array], jax.Array]  # params, states [..., d] -> [..., c]
    paint: Callable[[Any, jax.Array], jax.Array]  # params, states [n, d] -> what is reconstructed
    step: Callable[[Key, Learned, jax.Array], Learned]  # on states [n, d]
    size: int  # c


def encoder(
    kind: Kind, size: int, code: int, rate: float, *, weight: float = 1.0, stress: float = 0.0, residual: bool = True
) -> Encoder:
    """An autoencoder of this kind. "none" returns states as they are.

    Args:
      kind: "plain"; "vae" adds ``weight`` times the KL divergence of (mean, sigma); "mmd" adds ``weight`` times the MMD
        between the codes and normal draws.
      size: numbers of a state.
      code: numbers of a code.
      rate: of Adam.
      weight: of what is asked of the codes.
      stress: how much more the pixels count that depart from the average state. 0 is the plain square error.
      residual: decode the difference from the average state, which is kept up to date; without it, the whole state.
    """
    if kind == "none":
        return _as_they_are(size)
    network = Autoencoder(size, code)
    optimiser = optax.adam(rate)

    def init(key: Key) -> Learned:
        none = jnp.zeros((1, size), jnp.float32)
        weights = network.init(key, none, none, jnp.zeros((1, code), jnp.float32))
        params = {"weights": weights, "average": none[0], "seen": jnp.float32(0)}
        return Learned(params, (), optimiser.init(weights))

    def average(params: Any) -> jax.Array:
        return params["average"] if residual else jnp.zeros_like(params["average"])

    def encoded(params: Any, states: jax.Array) -> jax.Array:
        return network.apply(params["weights"], states - average(params), method=Autoencoder.encode)[0]

    def paint(params: Any, states: jax.Array) -> jax.Array:
        noise = jnp.zeros((len(states), code), jnp.float32)
        return cast(tuple, network.apply(params["weights"], states, average(params), noise))[0]

    def step(key: Key, learned: Learned, states: jax.Array) -> Learned:
        key_noise, key_prior = jax.random.split(key)
        params = learned.params
        seen = params["seen"] + 1
        moved = params["average"] + (jnp.mean(states, axis=0) - params["average"]) / jnp.minimum(seen, 1000.0)
        params = params | {"average": moved, "seen": seen}
        noise = jax.random.normal(key_noise, (len(states), code), jnp.float32) * float(kind == "vae")

        def loss(weights: Any) -> jax.Array:
            out = cast(tuple, network.apply(weights, states, average(params), noise))
            painted, mean, log_variance, codes = out
            counts = pixel_weights(states, moved, stress)
            error = jnp.mean(jnp.sum(counts * (painted - states) ** 2, axis=-1))
            if kind == "vae":
                error = error + weight * jnp.mean(kl_of_gaussians(mean, log_variance))
            if kind == "mmd":
                error = error + weight * mmd(codes, jax.random.normal(key_prior, codes.shape, jnp.float32))
            return error

        updates, memory = updated(optimiser, jax.grad(loss)(params["weights"]), learned.memory, params["weights"])
        return Learned(params | {"weights": optax.apply_updates(params["weights"], updates)}, (), memory)

    return Encoder(init, encoded, paint, step, code)


def _as_they_are(size: int) -> Encoder:
    """Codes are states."""
    nothing = Learned({}, {}, ())

    def same(params: Any, states: jax.Array) -> jax.Array:
        del params
        return states

    def step(key: Key, learned: Learned, states: jax.Array) -> Learned:
        del key, states
        return learned

    def init(key: Key) -> Learned:
        del key
        return nothing

    return Encoder(init, same, same, step, size)
