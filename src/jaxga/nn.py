"""Networks that know low-rank parameters: flax modules whose layers use `jaxga.lowrank.matmul`.

Any other flax network works too: its layers call ``jnp.asarray`` on their parameters and see the dense matrix. Those
here are faster for a population, because a brood shares its parent's products, and because a convolution over a batch
of kernels is one matrix product over patches (a vmap of ``lax.conv`` lowers to a grouped convolution, which is slow).
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen

from jaxga.base import require
from jaxga.lowrank import LowRank, is_low_rank, matmul, matmul_columns

Initializer = Callable[..., jax.Array]

lecun_normal = linen.initializers.lecun_normal()
"""Standard deviation 1 / sqrt(fan in)."""

notes_normal = linen.initializers.variance_scaling(4.0, "fan_in", "normal")
"""Standard deviation 2 / sqrt(fan in): sqrt(2) wider than He, so that random networks give strong opinions."""


class Dense(linen.Module):
    """``x W + b``; of examples in columns, ``x [m, P]``, ``W' x + b``."""

    features: int
    use_bias: bool = True
    kernel_init: Initializer = lecun_normal
    columns: bool = False

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[0 if self.columns else -1]
        kernel = self.param("kernel", self.kernel_init, (width, self.features), jnp.float32)
        y = (matmul_columns if self.columns else matmul)(x, kernel)
        if not self.use_bias:
            return y
        bias = self.param("bias", linen.initializers.zeros, (self.features,), jnp.float32)
        return y + (jnp.asarray(bias)[:, None] if self.columns else bias)


class Conv(linen.Module):
    """A convolution of ``x [..., h, w, c]`` as one matrix product over patches; ``padding`` is "VALID" or "SAME"."""

    features: int
    kernel_size: int
    stride: int = 1
    padding: str = "VALID"
    use_bias: bool = True
    kernel_init: Initializer = lecun_normal

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel_size, self.kernel_size, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        y = convolve(x, kernel, self.stride, self.padding)
        return y + self.param("bias", linen.initializers.zeros, (self.features,), jnp.float32) if self.use_bias else y


def convolve(x: jax.Array, kernel: Any, stride: int, padding: str = "VALID") -> jax.Array:
    """Convolve ``x [..., h, w, c]`` with a kernel ``[k, k, c, n]``, dense or low-rank.

    A vmap of ``lax.conv`` over kernels is a grouped convolution, which is slow. On a CPU one child's convolution
    follows the other's; elsewhere all of them are matrix products.
    """
    require(padding in ("VALID", "SAME"), f"padding is {padding!r}, and must be 'VALID' or 'SAME'.")
    if padding == "SAME":
        x = _pad_same(x, kernel.shape[0], stride)
    image, size = x.shape[-3:-1], kernel.shape[0]
    require(
        min(image) >= size,
        f"an image of {image[0]} x {image[1]} is smaller than the kernel, {size} x {size}: "
        "take larger images, smaller kernels or strides, or padding='SAME'.",
    )
    images = x.reshape(-1, *x.shape[-3:])
    y = jax.lax.platform_dependent(
        images, kernel, cpu=partial(_one_by_one, stride), default=partial(_by_products, stride)
    )
    return y.reshape(*x.shape[:-3], *y.shape[1:])


def _one_by_one(stride: int, x: jax.Array, kernel: Any) -> jax.Array:
    dense, low_rank = _convolutions(stride)
    return low_rank(x, kernel.base, kernel.left, kernel.right) if is_low_rank(kernel) else dense(x, kernel)


@functools.cache
def _convolutions(stride: int) -> tuple[Callable[..., jax.Array], Callable[..., jax.Array]]:
    """Convolutions of ``x [P, h, w, c]`` with a dense and with a low-rank kernel, which know what to do for a brood."""

    @jax.custom_batching.custom_vmap
    def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    @forward.def_vmap
    def forward_of_many(axis_size: int, in_batched: list[bool], x: jax.Array, kernel: jax.Array) -> Any:
        del axis_size
        if not in_batched[1]:
            y = dense(x.reshape(-1, *x.shape[2:]), kernel)
            return y.reshape(*x.shape[:2], *y.shape[1:]), True
        if not in_batched[0] and kernel.shape[-2] < FEW_CHANNELS:
            return jax.vmap(partial(_by_patches, x, stride=stride))(kernel), True  # all cut the same patches
        return _one_after_the_other(dense, in_batched, (x, kernel)), True

    @jax.custom_jvp
    def dense(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return forward(x, kernel)

    @dense.defjvp
    def dense_and_slope(primals: Any, tangents: Any) -> Any:  # a function with a rule for vmap has no gradient
        return jax.jvp(partial(_by_products, stride), primals, tangents)

    @jax.custom_batching.custom_vmap
    def low_rank(x: jax.Array, base: jax.Array, left: jax.Array, right: jax.Array) -> jax.Array:
        return dense(x, base + (left @ right).reshape(base.shape))

    @low_rank.def_vmap
    def low_rank_of_brood(axis_size: int, in_batched: list[bool], *operands: jax.Array) -> Any:
        if in_batched != [False, False, True, True]:
            return _one_after_the_other(low_rank, in_batched, operands), True
        # The same images for all: so is their convolution with the base, and all left factors are one kernel.
        x, base, left, right = operands
        narrow = dense(x, jnp.moveaxis(left, 0, 1).reshape(*base.shape[:-1], -1))
        narrow = narrow.reshape(*narrow.shape[:-1], axis_size, -1)
        return dense(x, base) + jnp.einsum("phwcr,crn->cphwn", narrow, right), True

    return dense, low_rank


def _one_after_the_other(function: Callable[..., jax.Array], in_batched: list[bool], operands: Any) -> jax.Array:
    """``vmap`` as a loop: each child's operands, and what is built of them, stay in a cache."""

    def of_child(own: list[jax.Array]) -> jax.Array:
        rest = iter(own)
        return function(*(next(rest) if batched else all for batched, all in zip(in_batched, operands, strict=True)))

    return jax.lax.map(of_child, [own for batched, own in zip(in_batched, operands, strict=True) if batched])


def _by_products(stride: int, x: jax.Array, kernel: Any) -> jax.Array:
    """By matrix products.

    Images of few channels are cut into patches, one product for all of them; with many channels it is one product
    for every position in the kernel, which copies less.
    """
    return (_by_patches if kernel.shape[2] < FEW_CHANNELS else _by_positions)(x, kernel, stride)


FEW_CHANNELS = 16


def _by_patches(x: jax.Array, kernel: Any, stride: int) -> jax.Array:
    """One product over patches ``[..., rows, columns, k * k * c]``.

    Where the stride divides the kernel, the image is cut into blocks of stride x stride pixels first, so that a patch
    is a few whole blocks: fewer and longer copies. The rows of the kernel are put in the same order.
    """
    size, _, channels, _ = kernel.shape
    block = stride if size % stride == 0 else 1

    def order(matrix: jax.Array) -> jax.Array:
        reach = size // block
        rows = matrix.reshape(reach, block, reach, block, channels, -1)
        return rows.transpose(0, 2, 1, 3, 4, 5).reshape(size * size * channels, -1)

    if is_low_rank(kernel):
        return matmul(_patches(x, size, stride, block), LowRank(order(kernel.base), order(kernel.left), kernel.right))
    return _patches(x, size, stride, block) @ order(kernel)


def _patches(x: jax.Array, size: int, stride: int, block: int) -> jax.Array:
    """``[..., h, w, c]`` to ``[..., rows, columns, size * size * c]``, one block after another."""
    *batch, height, width, channels = x.shape
    tall, wide = (side - (side - size) % stride for side in (height, width))  # what the kernel reaches
    x = x[..., :tall, :wide, :].reshape(*batch, tall // block, block, wide // block, block, channels)
    x = jnp.moveaxis(x, -3, -4).reshape(*batch, tall // block, wide // block, block * block * channels)
    return jnp.concatenate(_windows(x, size // block, stride // block), axis=-1)


def _windows(x: jax.Array, size: int, stride: int) -> list[jax.Array]:
    """For every position in a kernel the pixels ``[..., rows, columns, c]`` that it meets."""
    rows, columns = ((side - size) // stride for side in x.shape[-3:-1])
    return [
        x[..., i : i + rows * stride + 1 : stride, j : j + columns * stride + 1 : stride, :]
        for i in range(size)
        for j in range(size)
    ]


def _by_positions(x: jax.Array, kernel: Any, stride: int) -> jax.Array:
    """The sum over positions (i, j) of ``x[i::stride, j::stride] @ kernel[i, j]``.

    Of a low-rank step ``A B``, A is applied to every pixel first, ``[c, k * k * r]``, and then added up by position.
    """
    size, _, channels, features = kernel.shape
    if not is_low_rank(kernel):
        matrices = kernel.reshape(size * size, channels, features)
        return _sum(window @ matrix for window, matrix in zip(_windows(x, size, stride), matrices, strict=True))
    left = kernel.left.reshape(size * size, channels, -1)
    rank = left.shape[-1]
    pixels = x @ left.transpose(1, 0, 2).reshape(channels, -1)
    windows = _windows(pixels, size, stride)
    narrow = _sum(window[..., n * rank : (n + 1) * rank] for n, window in enumerate(windows))
    return _by_positions(x, kernel.base, stride) + narrow @ kernel.right


def _sum(terms: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(jnp.add, terms)


def _pad_same(x: jax.Array, size: int, stride: int) -> jax.Array:
    """Zeros around the image so that the output is the input over stride, rounded up, as XLA's "SAME" does."""
    widths = [(0, 0)] * x.ndim
    for axis in (-3, -2):
        total = max((-(-x.shape[axis] // stride) - 1) * stride + size - x.shape[axis], 0)
        widths[axis] = (total // 2, total - total // 2)
    return jnp.pad(x, widths)


def applied(network: linen.Module, dtype: Any = jnp.float32) -> Callable[[Any, jax.Array], jax.Array]:
    """``(params, x) -> network.apply(params, x)``, computed in ``dtype``, its result in float32.

    ``jnp.bfloat16`` halves the bytes and is what accelerators multiply fastest; parents and mutations stay float32.
    """

    def cast_floats(leaf: jax.Array) -> jax.Array:  # there are indices in `jaxga.lowrank.Columns`
        return leaf.astype(dtype) if jnp.isdtype(leaf.dtype, "real floating") else leaf

    def forward(params: Any, x: jax.Array) -> jax.Array:
        small = jax.tree.map(cast_floats, params)
        return cast(jax.Array, network.apply(small, x.astype(dtype))).astype(jnp.float32)

    return forward


MANY_ROWS = 64  # examples from which on a perceptron keeps them in columns; a few are multiplied faster in rows


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

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        columns = x.shape[0] >= MANY_ROWS
        x = x.reshape(x.shape[0], -1)
        x = x.T if columns else x
        for number, features in enumerate(self.features):
            x = jax.nn.relu(x) if number else x
            x = Dense(features, self.use_bias, self.kernel_init, columns=columns)(x)
        return x.T if columns else x


class ConvNet(linen.Module):
    """Convolutions, one hidden layer, outputs: the shape of the Atari networks (Mnih et al. 2015) and of the notes.

    With the defaults on 64 x 64 x 3 images it has 605,866 parameters. ``pool`` is the side of the windows of which the
    largest is taken after the last convolution; 1 takes none.
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
        for channels, size, stride in zip(self.channels, self.kernel_sizes, self.strides, strict=True):
            x = Conv(channels, size, stride, self.padding, self.use_bias, self.kernel_init)(x)
            x = jax.nn.relu(x)
        if self.pool > 1:
            x = linen.max_pool(x, (self.pool, self.pool), (self.pool, self.pool))
        x = x.reshape(x.shape[0], -1)
        x = jax.nn.relu(Dense(self.hidden, self.use_bias, self.kernel_init)(x))
        return Dense(self.outputs, self.use_bias, self.output_init or self.kernel_init)(x)
