"""Networks of only their first units, so that units have an order of importance."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxga.alignment.chain import Layers, layers_of
from jaxga.base import Key, Params, Task, Trial, require
from jaxga.tree import iota
from jaxga.variation.checks import require_function, shown


def first_units(params: Params, share: Any, layers: Layers = None) -> Params:
    """The network of only the first ``ceil(share n)`` of the n units of every hidden layer; others go nowhere.

    Weights that go out of all others are 0, so shapes stay, and whatever the activation is, the others have no effect.
    ``share``, ``[]``, is above 0 and at most 1, and may be traced.

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
    """Uniform, above 0 and at most 1."""
    return 1 - jax.random.uniform(key, (), jnp.float32)


def ordered_dropout(task: Any, layers: Layers = None, *, share: Callable[[Key], Any] = any_share) -> Any:
    """A task or loss of the `first_units` of a network, whose number is drawn: units get an order of importance.

    The first units are always there and the last ones seldom, so what matters most comes to stand first (nested
    dropout, Rippel et al. 2014). Parameters are masked, so any chain takes part. Of a `Task`, ``evaluate`` and ``loss``
    see the first units, of a parent too, ``validate`` and ``test`` the whole network. Of a loss ``(key, params) -> []``
    it makes one. ``share: (key) -> []`` draws the part of all units that is used, the same in every hidden layer.

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
