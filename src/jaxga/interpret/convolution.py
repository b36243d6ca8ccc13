"""Convolutions with a child's kernel, which may be in parts.

A ``vmap`` of ``lax.conv`` over kernels becomes a grouped convolution, which is slow. Instead, the convolutions of a
brood run one after another on a CPU. On other devices they are computed as matrix products, if the convolution is
simple enough (`_by_products`). If all children of a brood get the same images, the convolution with the parent's
kernel is computed once, and the left factors of all children are joined to one kernel.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxga.interpret.products import axes, of_brood
from jaxga.interpret.walk import array, note_built, rule
from jaxga.lowrank import LowRank

FEW_CHANNELS = 16
OPTIONS = [
    "window_strides", "padding", "lhs_dilation", "rhs_dilation", "dimension_numbers", "feature_group_count",
    "batch_group_count", "precision", "preferred_element_type",
]  # fmt: skip


@rule("conv_general_dilated")
def _conv(eqn: Any, x: Any, w: Any) -> Any:
    if not isinstance(w, LowRank):
        return NotImplemented
    x, options = array(x), {name: eqn.params[name] for name in OPTIONS}
    features = options["dimension_numbers"].rhs_spec[0]
    grouped = options["feature_group_count"] > 1 or options["batch_group_count"] > 1
    if w.rank and not grouped and all(axis == features for axis, right in enumerate(w.on_right) if right):
        return _of_parts(x, w, options, partial(note_built, eqn, w, cheaper=True))
    note_built(eqn, w)
    return _of_array(x, w.dense(), options)


def _of_array(x: jax.Array, kernel: jax.Array, options: dict[str, Any]) -> jax.Array:
    """The convolution with a kernel that is a plain array."""
    plain, products = partial(lax.conv_general_dilated, **options), _by_products(options)

    def many(size: int, batched: list[bool], x: jax.Array, kernel: jax.Array) -> jax.Array:
        del size
        together = jax.vmap(products if products and batched[1] else plain, axes(batched))
        few = kernel.shape[1 + options["dimension_numbers"].rhs_spec[1]] < FEW_CHANNELS
        if not batched[1] or (products and few and not batched[0]):
            return together(x, kernel)  # one kernel for all images, or patches that all children share
        one = lambda *operands: _one_after_the_other(plain, batched, operands)  # noqa: E731
        return lax.platform_dependent(x, kernel, cpu=one, default=together)

    return of_brood(plain, many)(x, kernel)


def _of_parts(x: jax.Array, w: LowRank, options: dict[str, Any], note: Callable[[], None]) -> jax.Array:
    """The convolution with a low-rank kernel whose right factor has only the feature axis.

    The left factor is then itself a kernel, with r features.
    """
    plain, products = partial(lax.conv_general_dilated, **options), _by_products(options)
    features, out = options["dimension_numbers"].rhs_spec[0], options["dimension_numbers"].out_spec[1]

    def narrow_kernel(left: jax.Array) -> jax.Array:
        return jnp.moveaxis(jnp.squeeze(left, features + 1), 0, features)

    def by_parts(x: jax.Array, base: jax.Array, left: jax.Array, right: jax.Array) -> jax.Array:
        narrow = jnp.moveaxis(plain(x, narrow_kernel(left)), out, -1)
        step = jnp.tensordot(narrow, right.reshape(w.rank, -1), 1)
        return plain(x, base) + jnp.moveaxis(step, -1, out)

    def by_building(x: jax.Array, base: jax.Array, left: jax.Array, right: jax.Array) -> jax.Array:
        return plain(x, LowRank(base, left, right).dense())

    def of_same_images(x: jax.Array, base: jax.Array, left: jax.Array, right: jax.Array) -> jax.Array:
        kernels = jax.vmap(narrow_kernel, out_axes=features)(left)  # [..., c, r, ...]: c * r features
        shape = *kernels.shape[:features], -1, *kernels.shape[features + 2 :]
        narrow = jnp.moveaxis(plain(x, kernels.reshape(shape)), out, -1)
        narrow = narrow.reshape(*narrow.shape[:-1], len(left), w.rank)
        step = jnp.einsum("...cr,crn->c...n", narrow, right.reshape(len(left), w.rank, -1))
        return plain(x, base) + jnp.moveaxis(step, -1, out + 1)

    def many(size: int, batched: list[bool], *operands: jax.Array) -> jax.Array:
        del size
        if batched == [False, False, True, True]:
            return of_same_images(*operands)
        if jax.default_backend() == "cpu":
            note()
        one = lambda *operands: _one_after_the_other(by_building, batched, operands)  # noqa: E731
        together = jax.vmap(products or by_parts, axes(batched))
        return lax.platform_dependent(*operands, cpu=one, default=together)

    return of_brood(by_parts, many)(x, w.base, w.left, w.right)


def _one_after_the_other(function: Callable[..., jax.Array], batched: Sequence[bool], operands: Any) -> jax.Array:
    """Like ``vmap``, but as a loop, so that each child's operands and its kernel fit into a processor cache."""

    def of_child(own: list[jax.Array]) -> jax.Array:
        rest = iter(own)
        return function(*(next(rest) if mine else all_ for mine, all_ in zip(batched, operands, strict=True)))

    return lax.map(of_child, [operand for mine, operand in zip(batched, operands, strict=True) if mine])


def _by_products(options: dict[str, Any]) -> Callable[..., jax.Array] | None:
    """A function of ``(x, kernel)`` or ``(x, base, left, right)`` that convolves by matrix products.

    None unless the convolution has two spatial axes with the same stride, no groups, no dilation and no negative
    padding.
    """
    numbers, stride = options["dimension_numbers"], options["window_strides"][0]
    ones = "window_strides", "lhs_dilation", "rhs_dilation", "feature_group_count", "batch_group_count"
    due = (stride, stride), (1, 1), (1, 1), 1, 1
    if tuple(options[name] for name in ones) != due or np.min(options["padding"]) < 0:
        return None

    def images_last(spec: Sequence[int]) -> tuple[int, ...]:
        return spec[0], *spec[2:], spec[1]

    def convolve(x: jax.Array, base: jax.Array, left: Any = None, right: Any = None) -> jax.Array:
        rows, columns, channels, features = (*numbers.rhs_spec[2:], numbers.rhs_spec[1], numbers.rhs_spec[0])
        order = rows, columns, channels, features
        x = jnp.pad(x.transpose(images_last(numbers.lhs_spec)), [(0, 0), *options["padding"], (0, 0)])
        kernels = [base.transpose(order)]
        if left is not None:
            kernels.append(jnp.moveaxis(left.transpose((*(axis + 1 for axis in order), 0)), 3, 4)[..., 0])
        way = _by_patches if x.shape[-1] < FEW_CHANNELS else _by_positions
        matmul = partial(jnp.matmul, precision=options["precision"])
        y, *narrow = (way(x, kernel, stride, matmul) for kernel in kernels)
        for each in narrow:
            y += matmul(each, right.reshape(len(right), -1))
        return y.transpose(np.argsort(images_last(numbers.out_spec)))

    return convolve


# In the functions below, images are [P, h, w, c] and kernels [h, w, c, n].


def _by_patches(x: jax.Array, kernel: jax.Array, stride: int, matmul: Any) -> jax.Array:
    """One product with all patches ``[..., rows, columns, h * w * c]``, for images of few channels.

    If the stride divides both sides of the kernel, the image is first cut into blocks of stride x stride pixels. A
    patch then consists of a few whole blocks, which takes fewer and longer copies. The rows of the kernel are put in
    the same order.
    """
    tall, wide, channels, _ = kernel.shape
    block = stride if tall % stride == wide % stride == 0 else 1
    rows = kernel.reshape(tall // block, block, wide // block, block, channels, -1)
    rows = rows.transpose(0, 2, 1, 3, 4, 5).reshape(tall * wide * channels, -1)
    return matmul(_patches(x, (tall, wide), stride, block), rows)


def _patches(x: jax.Array, size: tuple[int, int], stride: int, block: int) -> jax.Array:
    """Cut images ``[..., h, w, c]`` into patches ``[..., rows, columns, size[0] * size[1] * c]``, block by block."""
    *batch, height, width, channels = x.shape
    tall, wide = (side - (side - own) % stride for side, own in zip((height, width), size, strict=True))
    x = x[..., :tall, :wide, :].reshape(*batch, tall // block, block, wide // block, block, channels)
    x = jnp.moveaxis(x, -3, -4).reshape(*batch, tall // block, wide // block, block * block * channels)
    return jnp.concatenate(_windows(x, (size[0] // block, size[1] // block), stride // block), axis=-1)


def _windows(x: jax.Array, size: tuple[int, int], stride: int) -> list[jax.Array]:
    """For each position in the kernel, the pixels ``[..., rows, columns, c]`` with which it is multiplied."""
    rows, columns = ((side - own) // stride for side, own in zip(x.shape[-3:-1], size, strict=True))
    return [
        x[..., i : i + rows * stride + 1 : stride, j : j + columns * stride + 1 : stride, :]
        for i in range(size[0])
        for j in range(size[1])
    ]


def _by_positions(x: jax.Array, kernel: jax.Array, stride: int, matmul: Any) -> jax.Array:
    """The sum of ``x[i::stride, j::stride] @ kernel[i, j]`` over (i, j), for many channels: it copies less."""
    tall, wide, channels, features = kernel.shape
    matrices = kernel.reshape(tall * wide, channels, features)
    return _sum(
        matmul(window, matrix) for window, matrix in zip(_windows(x, (tall, wide), stride), matrices, strict=True)
    )


def _sum(terms: Iterable[jax.Array]) -> jax.Array:
    return reduce(jnp.add, terms)
