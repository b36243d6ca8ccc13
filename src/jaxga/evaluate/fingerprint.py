"""What a run is made of, in a few words: sizes, and hashes of its programs and of the data in them.

A directory keeps them, and refuses to go on with another algorithm or task; a pool compares them with its workers'.
They do not depend on how many devices, processes or workers share the work.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxga._version import __version__
from jaxga.algorithm import shape_of_state, shape_of_survivors
from jaxga.base import Algorithm, State, as_key
from jaxga.compilation import wording


def innermost(evaluator: Any) -> Any:
    """The evaluator that others share out, validate or lease: `Vmapped`, `Rollouts`, or one of a user's own."""
    while hasattr(evaluator, "evaluator"):
        evaluator = evaluator.evaluator
    return evaluator


def describe_run(algorithm: Algorithm, evaluator: Any, start: Sequence[np.ndarray] | None = None) -> dict[str, Any]:
    """Sizes, versions and the `fingerprint`, as they stand in config.json; and a hash of the state it went on from."""
    chunk = getattr(innermost(evaluator), "chunk", None)
    return {
        "parents": algorithm.parents,
        "children": algorithm.children,
        "elites": algorithm.elites,
        "reevaluate": algorithm.reevaluate,
        "chunk": chunk,
        "state": None if start is None else hashlib.sha256(b"".join(leaf.tobytes() for leaf in start)).hexdigest()[:16],
        "versions": {"jaxga": __version__, "jax": jax.__version__, "backend": jax.default_backend()},
        "programs": fingerprint(algorithm, evaluator),
    }


def fingerprint(algorithm: Algorithm, evaluator: Any) -> dict[str, str]:
    """Hashes of what begins a run, scores a child, advances and selects: of programs as text, and of their data.

    What an evaluator on the host returns is known from its ``like``; without that, ``select`` is left out.
    """
    state = shape_of_state(algorithm)
    found = worker_fingerprint(algorithm, evaluator)
    if hasattr(evaluator, "like") or not getattr(evaluator, "on_host", False):
        scores = evaluator.like(state) if hasattr(evaluator, "like") else jax.eval_shape(evaluator, state)
        found["select"] = _hash([], algorithm.select, state, scores)
    return found


def worker_fingerprint(algorithm: Algorithm, evaluator: Any) -> dict[str, str]:
    """The part of the `fingerprint` that a worker needs: it never selects."""
    state, inner = shape_of_state(algorithm), innermost(evaluator)
    return {
        "init": _hash([], algorithm.init, as_key(0)),
        "score": _score(algorithm, evaluator, inner, state),
        "advance": _hash([], algorithm.advance, state, shape_of_survivors(algorithm)),
    }


def _score(algorithm: Algorithm, evaluator: Any, inner: Any, state: State) -> str:
    """Of what makes a child and scores it."""
    again = getattr(evaluator, "candidates", None), getattr(evaluator, "episodes", None)  # of `validated`
    if hasattr(inner, "game"):
        game = inner.game
        words = [*again, game.make, game.max_steps, game.unseen, sorted((game.starts or {}).values()), inner.episodes]
        child = _hash(words, lambda state: algorithm.offspring(state, 0, 0), state)
        if game.observation is None:
            return child
        shown = jax.ShapeDtypeStruct((1, *game.observation.shape), game.observation.dtype)
        return _hash([child], game.act, jax.eval_shape(game.init, as_key(0)), shown)
    if hasattr(inner, "score_slice"):
        most = inner.slices(1 << 30)
        return _hash(again, lambda state: inner.score_slice(state, jnp.int32(0), most), state)
    return _hash(again, lambda state: algorithm.offspring(state, 0, 0), state)


def _hash(words: Any, function: Callable[..., Any], *arguments: Any) -> str:
    closed = jax.make_jaxpr(function)(*arguments)
    found = hashlib.sha256(wording(words, closed.jaxpr).encode())
    for const in closed.consts:
        found.update(np.asarray(const).tobytes())
    return found.hexdigest()[:16]
