"""A perceptron and a convolutional network, as they are used in the field."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen

from jaxga.base import require

Initializer = Callable[..., jax.Array]

lecun_normal = linen.initializers.lecun_normal()
"""Standard deviation 1 / sqrt(fan in)."""

notes_normal = linen.initializers.variance_scaling(4.0, "fan_in", "normal")
"""Standard deviation 2 / sqrt(fan in), sqrt(2) times that of He, so that random networks have large logits."""


def applied(network: linen.Module, dtype: Any = jnp.float32) -> Callable[[Any, jax.Array], jax.Array]:
    """``(params, x) -> network.apply(params, x)``, computed in ``dtype``, with a float32 result.

    ``jnp.bfloat16`` halves the memory traffic and is fast on accelerators. Parents and mutations stay float32.

    Args:
      network: a flax module.
      dtype: the float dtype of the computation, by default float32.
    """

    def cast_floats(leaf: jax.Array) -> jax.Array:
        return leaf.astype(dtype) if jnp.isdtype(leaf.dtype, "real floating") else leaf

    def forward(params: Any, x: jax.Array) -> jax.Array:
        small = jax.tree.map(cast_floats, params)
        return cast(jax.Array, network.apply(small, x.astype(dtype))).astype(jnp.float32)

    return forward


class MLP(linen.Module):
    """A multilayer perceptron with ReLU: ``MLP((128, 10))`` has one hidden layer of 128 and 10 outputs.

    >>> network = MLP((16, 10))
    >>> params = network.init(jax.random.key(0), jnp.zeros((1, 8)))
    >>> network.apply(params, jnp.zeros((5, 8))).shape
    (5, 10)
    """

    features: Sequence[int]
    use_bias: bool = True
    kernel_init: Initializer = lecun_normal
    output_init: Initializer | None = None  # of the last layer, where it begins otherwise

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x.reshape(x.shape[0], -1)
        for number, features in enumerate(self.features):
            x = jax.nn.relu(x) if number else x
            last = number == len(self.features) - 1
            init = (last and self.output_init) or self.kernel_init
            x = linen.Dense(features, self.use_bias, kernel_init=init)(x)
        return x


class ConvNet(linen.Module):
    """Convolutions, one hidden layer, outputs: the shape of the Atari networks (Mnih et al. 2015) and of the notes.

    With the default arguments, 10 outputs and 64 x 64 x 3 images it has 605,866 parameters. ``pool`` is the side of the
    max-pooling windows after the last convolution; 1 means no pooling.
    """

    outputs: int
    channels: Sequence[int] = (32, 64, 64)
    kernel_sizes: Sequence[int] = (8, 4, 3)
    strides: Sequence[int] = (4, 2, 1)
    hidden: int = 512
    padding: str = "VALID"
    pool: int = 1
    use_bias: bool = True
    kernel_init: Initializer = lecun_normal
    output_init: Initializer | None = None  # of the last layer, where it begins otherwise

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        require(self.padding in ("VALID", "SAME"), f"padding is {self.padding!r}, and must be 'VALID' or 'SAME'.")
        for channels, size, stride in zip(self.channels, self.kernel_sizes, self.strides, strict=True):
            require(
                self.padding == "SAME" or min(x.shape[-3:-1]) >= size,
                f"an image of {x.shape[-3]} x {x.shape[-2]} is smaller than the kernel, {size} x {size}: "
                "take larger images, smaller kernels or strides, or padding='SAME'.",
            )
            shape = {"kernel_size": (size, size), "strides": stride, "padding": self.padding}
            x = jax.nn.relu(linen.Conv(channels, **shape, use_bias=self.use_bias, kernel_init=self.kernel_init)(x))
        if self.pool > 1:
            x = linen.max_pool(x, (self.pool, self.pool), (self.pool, self.pool))
        x = x.reshape(x.shape[0], -1)
        x = jax.nn.relu(linen.Dense(self.hidden, self.use_bias, kernel_init=self.kernel_init)(x))
        return linen.Dense(self.outputs, self.use_bias, kernel_init=self.output_init or self.kernel_init)(x)
