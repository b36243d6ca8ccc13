"""Pytree helpers: take, stack, a key for every leaf, names and sizes of leaves."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import InputError, Key, Params, name_of, require


class Path(tuple[str, ...]):
    """Where a leaf stands, ``("hidden", "kernel")``. Being no plain tuple it is itself a leaf of a tree of paths."""


def iota(count: int) -> jax.Array:
    """0, 1, ... as int32 ``[count]``, whether or not JAX computes in 64 bits."""
    return jnp.arange(count, dtype=jnp.int32)


def take(tree: Any, index: Any) -> Any:
    """Element ``index`` of the leading axis of every leaf."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def stack(trees: Sequence[Any]) -> Any:
    """Trees of one structure, stacked along a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def replicate(tree: Any, times: int) -> Any:
    """The same tree ``times`` times along a new leading axis."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (times, *jnp.shape(leaf))), tree)


def expand(values: jax.Array, leaf: jax.Array) -> jax.Array:
    """``values [c]`` with axes of size 1 behind it, to go with ``leaf [c, ...]``."""
    return values.reshape(values.shape + (1,) * (leaf.ndim - values.ndim))


def where(condition: jax.Array, true: Any, false: Any) -> Any:
    """``jnp.where`` on every leaf; ``condition`` is a scalar. Typed keys pass too."""
    return jax.tree.map(lambda a, b: jax.lax.select(jnp.broadcast_to(condition, jnp.shape(a)), a, b), true, false)


def paths(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """The path of every leaf as a tuple of strings, in a tree of the same structure.

    >>> paths({"hidden": {"kernel": 1.0, "bias": 2.0}})["hidden"]["bias"]
    ('hidden', 'bias')
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: Path(jax.tree_util.keystr((part,), simple=True) for part in path), tree, is_leaf=is_leaf
    )


def path_hash(path: tuple[str, ...]) -> int:
    """A number for a path, the same in every process."""
    return zlib.crc32("/".join(path).encode())


def path_key(key: Key, path: tuple[str, ...]) -> Key:
    """The key of one path: leaves of equal shape get unequal noise, whatever stands beside them."""
    return jax.random.fold_in(key, path_hash(path))


def key_tree(key: Key, tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """A key of its own for every leaf: the `path_key` of its path, all of them derived in one go."""
    names, treedef = jax.tree.flatten(paths(tree, is_leaf))
    hashes = jnp.array([path_hash(path) for path in names], jnp.uint32)
    return treedef.unflatten(list(jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, hashes)))


def in_one(parts: Mapping[str, Mapping[Any, Any]]) -> dict[str, Any]:
    """Named arrays of several parts as those of one file: ``part/name``."""
    return {f"{part}/{name}": array for part, named in parts.items() for name, array in named.items()}


def in_parts(file: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What `in_one` made one, in parts again; what belongs to none is left out."""
    parts: dict[str, dict[str, Any]] = {}
    for name in file:
        part, _, rest = name.partition("/")
        if rest:
            parts.setdefault(part, {})[rest] = file[name]
    return parts


def numbered(leaves: Sequence[Any]) -> dict[str, Any]:
    """Leaves by their number, to be saved as a part; `in_order` makes the sequence of them again."""
    return {str(number): leaf for number, leaf in enumerate(leaves)}


def in_order(part: Mapping[str, Any]) -> tuple[Any, ...]:
    """What `numbered` numbered, in whatever order it comes back."""
    return tuple(part[str(number)] for number in range(len(part)))


def named_leaves(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    """Leaves by name: ``{"hidden/kernel": ...}``."""
    names = jax.tree.leaves(paths(tree, is_leaf))
    return {"/".join(name): leaf for name, leaf in zip(names, jax.tree.leaves(tree, is_leaf), strict=True)}


def size(tree: Any) -> int:
    """Number of scalars in a tree (of arrays or of their shapes)."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def size_in_bytes(tree: Any) -> int:
    """Bytes that the arrays of a tree hold."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def root_mean_square(leaf: jax.Array) -> jax.Array:
    """``sqrt(mean(leaf**2))``, ``[]`` in the leaf's dtype; 0 for a leaf without numbers, whose mean would be NaN.

    >>> float(root_mean_square(jnp.array([3.0, -3.0]))), float(root_mean_square(jnp.zeros((0, 5))))
    (3.0, 0.0)
    """
    if not np.size(leaf):
        return jnp.zeros((), jnp.result_type(leaf))
    return jnp.sqrt(jnp.mean(jnp.square(leaf)))


def running_statistics(params: Params) -> list[str]:
    """The names of leaves under "batch_stats": what flax's BatchNorm measures, and no mutation should move.

    >>> running_statistics({"params": {"scale": 1.0}, "batch_stats": {"BatchNorm_0": {"mean": 0.0}}})
    ['batch_stats/BatchNorm_0/mean']
    """
    return ["/".join(path) for path in jax.tree.leaves(paths(params)) if "batch_stats" in path]


def shape_of_params(init: Callable[[Key], Params], key: Key) -> Params:
    """The shapes and dtypes of ``init(key)``, whose leaves are checked first: `check_params`."""

    def checked(key: Key) -> Params:
        params = init(key)
        check_params(params)
        return params

    return jax.eval_shape(checked, key)


def check_params(params: Params) -> None:
    """Refuse a tree with a leaf that is no array of floats, or without any number: evolution moves real numbers."""
    leaves = named_leaves(params)
    require(bool(leaves), "init returned params without a single array: return a pytree with at least one float array.")
    for name, leaf in leaves.items():
        _check_leaf(f"params leaf '{name}'" if name else "params", leaf)
    require(
        any(np.size(leaf) for leaf in leaves.values()),
        f"init returned params without a single number, the leaves {list(leaves)} are empty: give one of them a size.",
    )


def _check_leaf(leaf_name: str, leaf: Any) -> None:
    dtype = _dtype(leaf)
    kind = f"the function {name_of(leaf)}" if callable(leaf) else f"the {type(leaf).__name__} {leaf!r:.40}"
    require(
        dtype is not None,
        f"{leaf_name} is {kind}, and evolution moves arrays of floats: keep everything else outside of params (with "
        "equinox, return the first part of params, static = eqx.partition(model, eqx.is_inexact_array) in init, and "
        "call eqx.combine(params, static) in evaluate).",
    )
    require(
        not jnp.issubdtype(dtype, jnp.complexfloating),
        f"{leaf_name} has dtype {dtype}, and mutation needs real numbers: keep the real and the imaginary part as two "
        "leaves, and put them together in evaluate.",
    )
    require(
        jnp.issubdtype(dtype, jnp.floating),
        f"{leaf_name} has dtype {dtype}, and mutation needs floats: keep it outside of params (close over it, or use "
        "eqx.partition(model, eqx.is_inexact_array)), or cast it.",
    )


def check_like(new: Any, old: Any, who: str) -> Any:
    """``new`` `as_like` ``old``; refused where its structure, shapes or dtypes are others. The message names ``who``.

    A node with a shape and a dtype counts as one array, so a `jaxga.lowrank.LowRank` does. A Python float fits a float
    leaf of any width. Only shapes are looked at, while a program is traced.

    >>> check_like({"w": jnp.ones(3)}, {"w": jnp.ones(2)}, "mutation cut")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    jaxga.base.InputError: mutation cut returned leaf 'w' as float32[3], and float32[2] was due: ...
    """
    if jax.tree.structure(new, is_leaf=_is_array) != jax.tree.structure(old, is_leaf=_is_array):
        raise InputError(
            f"{who} returned {_difference(new, old)}: return every leaf at its place in the same containers."
        )
    for (name, due), leaf in zip(_named(old).items(), jax.tree.leaves(new, is_leaf=_is_array), strict=True):
        place = f"leaf '{name}' as " if name else ""  # nothing where the tree is one array
        require(
            _fits(leaf, due),
            f"{who} returned {place}{_type_name(leaf)}, and {_type_name(due)} was due: "
            "every leaf keeps its shape and its dtype.",
        )
    return as_like(new, old)


def as_like(new: Any, old: Any) -> Any:
    """``new``, which passed `check_like`, with arrays of the dtypes of ``old`` for Python numbers and numpy arrays."""
    return jax.tree.map(_as_leaf, new, old, is_leaf=_is_array)


def _as_leaf(new: Any, old: Any) -> Any:
    is_one_array = jax.tree.structure(new) == LEAF  # and not several that count as one, as a LowRank does
    settled = isinstance(new, jax.Array) and not new.weak_type
    return jnp.asarray(new, _dtype(old)) if is_one_array and not settled else new


LEAF = jax.tree.structure(0)


def _is_array(node: Any) -> bool:
    return hasattr(node, "shape") and hasattr(node, "dtype")


def _dtype(leaf: Any) -> Any:
    """The dtype that JAX gives to a leaf; None where it is no array."""
    if _is_array(leaf):
        return jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    return jnp.result_type(leaf) if isinstance(leaf, (bool, int, float, complex)) else None


def _fits(new: Any, old: Any) -> bool:
    """Of one shape and dtype? A float without a settled width, as those of Python, fits any."""
    one, other = _dtype(new), _dtype(old)
    if one is None or other is None or np.shape(new) != np.shape(old):
        return False
    loose = getattr(new, "weak_type", isinstance(new, float) and not _is_array(new))
    return one == other or (loose and all(jnp.issubdtype(dtype, jnp.floating) for dtype in (one, other)))


def _type_name(leaf: Any) -> str:
    return type(leaf).__name__ if _dtype(leaf) is None else f"{_dtype(leaf)}{list(np.shape(leaf))}"


def _named(tree: Any) -> dict[str, Any]:
    """Leaves by name, low-rank ones in one piece."""
    return named_leaves(tree, _is_array)


def _difference(new: Any, old: Any) -> str:
    news, olds = _named(new), _named(old)
    missing, unknown = ([name for name in one if name not in other] for one, other in ((olds, news), (news, olds)))
    if missing and news and "" not in (*news, *olds):
        return f"no leaf {missing[0]!r}, which was due"
    if unknown and "" not in (*news, *olds):
        return f"a leaf {unknown[0]!r}, which was not due"
    return f"a tree {_outline(new)}, and {_outline(old)} was due"


def _outline(tree: Any) -> str:
    """The containers of a tree, and a star for every leaf."""
    return str(jax.tree.structure(tree, is_leaf=_is_array)).removeprefix("PyTreeDef(").removesuffix(")")
