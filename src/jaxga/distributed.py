"""Many processes, one program: each scores its share of the children, and only their fitness crosses the network.

Every process runs the same script. The first one alone touches files and draws the progress; what it reads, the others
hear from it, so they need no file system in common.
"""

import ipaddress
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxga.base import InputError

LONG = 7 * 24 * 3600  # seconds that processes wait for the first one, which writes the results, before they end


def initialize(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
    """Join the processes of a run. To be called in each of them, before anything else of JAX.

    Under SLURM and Open MPI nothing needs to be said. Elsewhere arguments or environment variables tell: under an
    indexed Job of Kubernetes ``JOB_COMPLETION_INDEX`` is the process. CPUs talk by gloo, GPUs by NCCL.

    Where the coordinator is an address of loopback, nothing of this listens anywhere else. On any other address the
    traffic is neither encrypted nor authenticated: it belongs into a network of its own.

    Args:
      coordinator: address of the first process, ``"host:port"``; or ``JAX_COORDINATOR_ADDRESS``.
      processes: how many there are; or ``JAX_NUM_PROCESSES``.
      process: which one this is, from 0 on; or ``JAX_PROCESS_ID``.

    Raises:
      InputError: where nothing says who the others are, or they are not found.
    """
    coordinator = coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
    processes = _number(processes, "JAX_NUM_PROCESSES")
    process = _number(process, "JAX_PROCESS_ID", "JOB_COMPLETION_INDEX")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    bind: Any = {"coordinator_bind_address": coordinator} if coordinator and is_loopback(coordinator) else {}
    try:
        jax.distributed.initialize(coordinator, processes, process, shutdown_timeout_seconds=LONG, **bind)
    except ValueError as error:
        raise InputError(
            f"nothing says who the other processes are ({error}): start under SLURM or Open MPI, or set "
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID."
        ) from error
    except RuntimeError as error:
        late = any(words in str(error) for words in ("must be called before", "only be called once"))
        raise InputError(
            "initialize was called too late, or twice: call it once, before anything else of JAX."
            if late
            else f"the processes did not find one another at {coordinator}: {error}"
        ) from error
    if coordinator and bind:
        _gloo_listens_at(coordinator.rsplit(":", 1)[0])


def _number(value: int | None, *names: str) -> int | None:
    found = next((os.environ[name] for name in names if name in os.environ), None)
    return int(found) if value is None and found is not None else value


def is_loopback(address: str) -> bool:
    """Does ``"host:port"`` name this machine alone?"""
    host = address.rsplit(":", 1)[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _gloo_listens_at(host: str) -> None:
    """By itself it listens at whatever this machine's name resolves to. JAX has no public way to say otherwise."""
    try:
        from jax._src import distributed, xla_bridge
        from jax._src.lib import _jax  # pyright: ignore[reportPrivateImportUsage]

        collectives = _jax.make_gloo_tcp_collectives(distributed.global_state.client, hostname=host)
        factory = partial(xla_bridge.make_cpu_client, collectives=collectives)
        xla_bridge.register_backend_factory("cpu", factory, priority=0, fail_quietly=False)
    except (ImportError, AttributeError, TypeError):
        return


def is_first() -> bool:
    """Is this the process that writes files? True if there is only one process."""
    return jax.process_index() == 0


def from_first(function: Callable[[], bytes]) -> bytes:
    """Call ``function`` in the first process only, and return its result in all processes.

    Raises:
      InputError: in all processes, if ``function`` raises it in the first.
    """
    if jax.process_count() == 1:
        return function()
    data, refused = b"", False
    if is_first():
        try:
            data = function()
        except InputError as error:
            data, refused = str(error).encode(), True
    size, refused = multihost_utils.broadcast_one_to_all(np.array([len(data), refused]))
    buffer = np.zeros(size, np.uint8)
    if is_first():
        buffer[:] = np.frombuffer(data, np.uint8)
    data = bytes(multihost_utils.broadcast_one_to_all(buffer)) if size else b""
    if refused:
        raise InputError(data.decode())
    return data


def agreed(*numbers: int) -> np.ndarray:
    """The numbers of every process ``[P, n]``."""
    if jax.process_count() == 1:
        return np.array([numbers])
    return np.asarray(multihost_utils.process_allgather(np.array(numbers, np.int32)))


def gathered(tree: Any) -> Any:
    """Arrays ``[...]`` of every process as ``[P, ...]``, in all of them."""
    return jax.tree.map(np.asarray, multihost_utils.process_allgather(tree))
