"""Pytree helpers: take, stack, a key for every leaf, names and sizes of leaves."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.base import InputError, Key, Params, name_of, require


class Path(tuple[str, ...]):
    """The place of a leaf in a tree, such as ``("hidden", "kernel")``.

    It is a class of its own because JAX treats a plain tuple as a node of a tree, and a path must be a leaf.
    """


def iota(count: int) -> jax.Array:
    """The numbers 0, 1, ... as int32 ``[count]``, also if JAX computes in 64 bits."""
    return jnp.arange(count, dtype=jnp.int32)


def take(tree: Any, index: Any) -> Any:
    """Element ``index`` of the leading axis of every leaf.

    >>> take({"w": jnp.array([1.0, 2.0])}, 1)
    {'w': Array(2., dtype=float32)}
    """
    return jax.tree.map(lambda leaf: leaf[index], tree)


def stack(trees: Sequence[Any]) -> Any:
    """Stack trees of the same structure along a new leading axis.

    >>> stack([{"w": jnp.ones(2)}, {"w": jnp.zeros(2)}])["w"].tolist()
    [[1.0, 1.0], [0.0, 0.0]]
    """
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def replicate(tree: Any, times: int) -> Any:
    """Repeat a tree ``times`` times along a new leading axis.

    >>> replicate({"w": jnp.ones(2)}, 3)["w"].shape
    (3, 2)
    """
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (times, *jnp.shape(leaf))), tree)


def expand(values: jax.Array, leaf: jax.Array) -> jax.Array:
    """Append axes of size 1 to ``values [c]``, so that it broadcasts to ``leaf [c, ...]``."""
    return values.reshape(values.shape + (1,) * (leaf.ndim - values.ndim))


def where(condition: jax.Array, true: Any, false: Any) -> Any:
    """``jnp.where`` for every leaf. ``condition`` is a scalar. Leaves may be typed keys, too."""
    return jax.tree.map(lambda a, b: jax.lax.select(jnp.broadcast_to(condition, jnp.shape(a)), a, b), true, false)


def paths(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """A tree of the same structure, with the `Path` of every leaf: a tuple of strings.

    >>> paths({"hidden": {"kernel": 1.0, "bias": 2.0}})["hidden"]["bias"]
    ('hidden', 'bias')
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, _: Path(jax.tree_util.keystr((part,), simple=True) for part in path), tree, is_leaf=is_leaf
    )


def path_hash(path: tuple[str, ...]) -> int:
    """A hash of a path that is the same in every process: CRC-32."""
    return zlib.crc32("/".join(path).encode())


def path_key(key: Key, path: tuple[str, ...]) -> Key:
    """The key for the leaf at this path. It does not depend on the other leaves of the tree."""
    return jax.random.fold_in(key, path_hash(path))


def key_tree(key: Key, tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> Any:
    """A separate key for every leaf: the `path_key` of its path. All keys are derived in one operation."""
    names, treedef = jax.tree.flatten(paths(tree, is_leaf))
    hashes = jnp.array([path_hash(path) for path in names], jnp.uint32)
    return treedef.unflatten(list(jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, hashes)))


def in_one(parts: Mapping[str, Mapping[Any, Any]]) -> dict[str, Any]:
    """Join several mappings of named arrays to one mapping, for one file, with names ``part/name``.

    >>> in_one({"state": {"a": 1}, "history": {"a": 2}})
    {'state/a': 1, 'history/a': 2}
    """
    return {f"{part}/{name}": array for part, named in parts.items() for name, array in named.items()}


def in_parts(file: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The inverse of `in_one`. Names that belong to no part are left out.

    >>> in_parts({"state/a": 1, "history/a": 2, "seconds": 3})
    {'state': {'a': 1}, 'history': {'a': 2}}
    """
    parts: dict[str, dict[str, Any]] = {}
    for name in file:
        part, _, rest = name.partition("/")
        if rest:
            parts.setdefault(part, {})[rest] = file[name]
    return parts


def numbered(leaves: Sequence[Any]) -> dict[str, Any]:
    """A sequence as a mapping from numbers to elements, to be saved as a part. `in_order` is the inverse."""
    return {str(number): leaf for number, leaf in enumerate(leaves)}


def in_order(part: Mapping[str, Any]) -> tuple[Any, ...]:
    """The inverse of `numbered`, whatever the order of the mapping.

    >>> in_order({"1": "b", "0": "a"})
    ('a', 'b')
    """
    return tuple(part[str(number)] for number in range(len(part)))


def named_leaves(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    """A mapping from names of leaves to leaves.

    >>> named_leaves({"hidden": {"kernel": 1.0, "bias": 2.0}})
    {'hidden/bias': 2.0, 'hidden/kernel': 1.0}
    """
    names = jax.tree.leaves(paths(tree, is_leaf))
    return {"/".join(name): leaf for name, leaf in zip(names, jax.tree.leaves(tree, is_leaf), strict=True)}


def size(tree: Any) -> int:
    """The number of scalars in a tree of arrays, or of their shapes."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def size_in_bytes(tree: Any) -> int:
    """The number of bytes in the arrays of a tree, or of their shapes."""
    return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def root_mean_square(leaf: jax.Array) -> jax.Array:
    """``sqrt(mean(leaf**2))``, ``[]`` in the leaf's dtype. It is 0 for an empty leaf, whose mean would be NaN.

    >>> float(root_mean_square(jnp.array([3.0, -3.0]))), float(root_mean_square(jnp.zeros((0, 5))))
    (3.0, 0.0)
    """
    if not np.size(leaf):
        return jnp.zeros((), jnp.result_type(leaf))
    return jnp.sqrt(jnp.mean(jnp.square(leaf)))


def running_statistics(params: Params) -> list[str]:
    """The names of leaves under "batch_stats": statistics that flax's BatchNorm measures, and that must not mutate.

    >>> running_statistics({"params": {"scale": 1.0}, "batch_stats": {"BatchNorm_0": {"mean": 0.0}}})
    ['batch_stats/BatchNorm_0/mean']
    """
    return ["/".join(path) for path in jax.tree.leaves(paths(params)) if "batch_stats" in path]


def shape_of_params(init: Callable[[Key], Params], key: Key) -> Params:
    """The shapes and dtypes of ``init(key)``, without computing it.

    Raises:
      InputError: if `check_params` refuses the params.
    """

    def checked(key: Key) -> Params:
        params = init(key)
        check_params(params)
        return params

    return jax.eval_shape(checked, key)


def check_params(params: Params) -> None:
    """Refuse params that cannot mutate.

    Raises:
      InputError: if a leaf is not an array of real floats, or if there is no leaf, or only empty leaves.
    """
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
    """Check that ``new`` has the structure, shapes and dtypes of ``old``, and return it with `as_like` applied.

    A node with a shape and a dtype counts as one array, such as a `jaxga.lowrank.LowRank`. A Python float is accepted
    for a float leaf of any width. The check needs only shapes, and so it costs nothing in a compiled program.

    Args:
      new: the tree to check.
      old: a tree with the due structure, shapes and dtypes.
      who: names the function that returned ``new``, for the message.

    Raises:
      InputError: if structure, shapes or dtypes differ.

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
    """``new``, with Python numbers and numpy arrays converted to JAX arrays of the dtypes of ``old``.

    ``new`` must fit ``old``, see `check_like`.
    """
    return jax.tree.map(_as_leaf, new, old, is_leaf=_is_array)


def _as_leaf(new: Any, old: Any) -> Any:
    is_one_array = jax.tree.structure(new) == LEAF  # and not a node of several arrays, such as a LowRank
    settled = isinstance(new, jax.Array) and not new.weak_type
    return jnp.asarray(new, _dtype(old)) if is_one_array and not settled else new


LEAF = jax.tree.structure(0)


def _is_array(node: Any) -> bool:
    return hasattr(node, "shape") and hasattr(node, "dtype")


def _dtype(leaf: Any) -> Any:
    """The dtype that JAX gives to a leaf; None if it is neither an array nor a number."""
    if _is_array(leaf):
        return jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    return jnp.result_type(leaf) if isinstance(leaf, (bool, int, float, complex)) else None


def _fits(new: Any, old: Any) -> bool:
    """Are shape and dtype equal? A float of weak type, such as a Python float, fits every float dtype."""
    one, other = _dtype(new), _dtype(old)
    if one is None or other is None or np.shape(new) != np.shape(old):
        return False
    loose = getattr(new, "weak_type", isinstance(new, float) and not _is_array(new))
    return one == other or (loose and all(jnp.issubdtype(dtype, jnp.floating) for dtype in (one, other)))


def _type_name(leaf: Any) -> str:
    return type(leaf).__name__ if _dtype(leaf) is None else f"{_dtype(leaf)}{list(np.shape(leaf))}"


def _named(tree: Any) -> dict[str, Any]:
    """Leaves by name, where a leaf in parts counts as one leaf."""
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
    """The containers of a tree as text, with a star for every leaf."""
    return str(jax.tree.structure(tree, is_leaf=_is_array)).removeprefix("PyTreeDef(").removesuffix(")")
