"""Where children are scored, chosen by a word: what an experiment takes as ``--backend``."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax

from jaxga.evaluate import Evaluator, Rollouts, over_hosts, pool
from jaxga.run import Result

Backend = Literal["local", "devices", "hosts", "ray"]


def options(backend: Backend, make: Callable[[], Any], workers: int | None = None) -> dict[str, Any]:
    """What `jaxga.run` has to be told, to have the children of a task scored there.

    Args:
      backend: ``"local"``, one device; ``"devices"``, all of this process; ``"hosts"``, all of the processes that
        `jaxga.distributed.initialize` joined; ``"ray"``, workers of a Ray cluster, see `jaxga.pool`.
      make: ``() -> vmapped(...)``, for workers.
      workers: of Ray.

    >>> sorted(options("local", lambda: None)), options("devices", lambda: None)
    (['devices'], {})
    """
    if backend == "ray":
        return {"evaluator": pool(make, workers=workers)}
    return {"devices": jax.local_devices()[:1]} if backend == "local" else {}


def of_games(backend: Backend, make: Callable[[], Rollouts], plays: Rollouts, workers: int | None = None) -> Any:
    """The evaluator of games for a backend.

    Args:
      backend: as in `options`.
      make: ``() -> Rollouts``, called in each worker of Ray.
      plays: the `Rollouts` of this process, for the other backends.
      workers: number of Ray workers.
    """
    return pool(make, workers=workers) if backend == "ray" else over_hosts(plays)


def dollars(per_hour: float | None, results: Sequence[Result], evaluator: Evaluator | None = None) -> dict[str, float]:
    """``{"dollars": ...}`` that runs cost at so much for a node and hour; nothing where no price is known.

    The nodes of a pool count as long as they had a worker in this sitting; of many processes each is a node.
    """
    if per_hour is None:
        return {}
    alone = sum(result.seconds for result in results) * jax.process_count()
    known = None if evaluator is None else evaluator.node_seconds()
    seconds = alone if known is None else known
    return {"dollars": round(seconds / 3600 * per_hour, 4)}
