"""Nested dropout: networks are scored with only their first units, so that these become the most important ones."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxga.alignment.chain import Layers, layers_of
from jaxga.base import Key, Params, Task, Trial, require
from jaxga.tree import iota
from jaxga.variation.checks import require_function, shown


def first_units(params: Params, share: Any, layers: Layers = None) -> Params:
    """The network with only the first ``ceil(share * n)`` of the n units of every hidden layer.

    The outgoing weights of all other units are set to 0. So the other units have no effect, whatever the activation is,
    and shapes stay the same.

    Args:
      params: of a chain, see `jaxga.alignment`.
      share: ``[]``, above 0 and at most 1. It may be traced.
      layers: the names of the layers, as in `align`.

    Raises:
      InputError: if the network is not a chain.

    >>> a = {"one": {"kernel": jnp.array([[1.0, 2.0, 3.0]])}, "two": {"kernel": jnp.array([[4.0], [5.0], [6.0]])}}
    >>> first_units(a, 0.5)["two"]["kernel"].tolist()
    [[4.0], [5.0], [0.0]]
    """
    leaves, treedef = jax.tree.flatten(params)
    for layer in layers_of(params, layers)[1:]:
        kernel, units = jnp.asarray(leaves[layer.kernel]), layer.shape[1]
        used = iota(units) < jnp.ceil(jnp.asarray(share, jnp.float32) * units).astype(jnp.int32)
        leaves[layer.kernel] = jnp.where(used[:, None], kernel.reshape(layer.shape), 0).reshape(kernel.shape)
    return treedef.unflatten(leaves)


def any_share(key: Key) -> jax.Array:
    """A share ``[]`` that is drawn uniformly, above 0 and at most 1."""
    return 1 - jax.random.uniform(key, (), jnp.float32)


def ordered_dropout(task: Any, layers: Layers = None, *, share: Callable[[Key], Any] = any_share) -> Any:
    """Nested dropout (Rippel et al. 2014): score only the `first_units` of a network, and draw at random how many.

    The first units are used most often and the last ones rarely, so the first units become the most important ones.
    Params are masked, so this works for every chain, whatever its code.

    Args:
      task: a `Task`, or a loss ``(key, params) -> []``. In a task, ``evaluate`` and ``loss`` use the first units, and a
        paired task uses as many of the parent. ``validate`` and ``test`` use the whole network.
      layers: the names of the layers, as in `align`.
      share: ``(key) -> []`` draws the share of the units that are used, the same in every hidden layer. By default
        `any_share`.

    Returns:
      A task, or a loss, as ``task``.

    Raises:
      InputError: if ``task`` is neither a `Task` nor a function, or ``share`` is not a function. When the task is used,
        if the network is not a chain.

    >>> params = {"one": {"kernel": jnp.ones((1, 4))}, "two": {"kernel": jnp.ones((4, 1))}}
    >>> loss = ordered_dropout(lambda key, params: params["two"]["kernel"].sum(), share=lambda key: 0.5)
    >>> float(loss(jax.random.key(0), params))
    2.0
    """
    require_function("share", share, "a key, which returns a number above 0, at most 1")

    def of_first(score: Callable[[Any, Params], Any]) -> Callable[[Any, Params], Any]:
        def call(draw: Any, params: Params) -> Any:
            trial = draw if isinstance(draw, Trial) else Trial(draw)
            key_share, key = jax.random.split(trial.key)
            part = share(key_share)
            parent = None if trial.parent is None else first_units(trial.parent, part, layers)
            seen = trial._replace(key=key, parent=parent) if trial is draw else key
            return score(seen, first_units(params, part, layers))

        return call

    if not isinstance(task, Task):
        require(callable(task), f"task is {shown(task)}, and must be a Task, or a loss (key, params) -> [].")
        return of_first(task)
    return task._replace(evaluate=of_first(task.evaluate), loss=task.loss and of_first(task.loss))
