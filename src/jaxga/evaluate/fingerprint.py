"""The fingerprint of a run: its sizes, and hashes of its programs and of the data in them.

A run directory stores it, and refuses to continue with another algorithm or task. A pool compares it with those of its
workers. It does not depend on the number of devices, processes or workers that share the work.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxga._version import __version__
from jaxga.algorithm import shape_of_source, shape_of_state
from jaxga.base import Algorithm, as_key
from jaxga.compilation import wording
from jaxga.evaluate.contract import Evaluator, Part


def describe_run(
    algorithm: Algorithm, evaluator: Evaluator, start: Sequence[np.ndarray] | None = None
) -> dict[str, Any]:
    """Sizes, versions and the `fingerprint`, for config.json; and a hash of the source from which the run continued."""
    return {
        "parents": algorithm.parents,
        "children": algorithm.children,
        "pairs": algorithm.pairs,
        "elites": len(algorithm.elites),
        "reevaluate": algorithm.selection.reevaluate,
        "ordered": algorithm.selection.ordered,
        "chunk": evaluator.chunk,
        "state": None if start is None else hashlib.sha256(b"".join(leaf.tobytes() for leaf in start)).hexdigest()[:16],
        "versions": {"jaxga": __version__, "jax": jax.__version__, "backend": jax.default_backend()},
        "programs": fingerprint(algorithm, evaluator),
    }


def fingerprint(algorithm: Algorithm, evaluator: Evaluator) -> dict[str, str]:
    """Hashes of the programs that begin a run, score children, select and advance: of their text and their data."""
    source = shape_of_source(algorithm)
    like = evaluator.like(source)
    state = shape_of_state(algorithm, like)
    recipe = jax.eval_shape(algorithm.select, state, like)[1].recipe
    return {
        "init": hashed([Part(algorithm.begin, (as_key(0),))]),
        "score": hashed(evaluator.parts(source)),
        "select": hashed([Part(algorithm.select, (state, like))]),
        "advance": hashed([Part(algorithm.advance, (source, recipe))]),
    }


def hashed(parts: Sequence[Part]) -> str:
    """A hash of programs, of the data in them, and of the text of further values."""
    found = hashlib.sha256()
    for part in parts:
        closed = jax.make_jaxpr(part.function)(*part.arguments)
        found.update(wording(part.words, closed.jaxpr).encode())
        for const in closed.consts:
            found.update(np.asarray(const).tobytes())
    return found.hexdigest()[:16]
