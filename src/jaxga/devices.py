"""Devices that share the work, and CPU cores as devices."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxga.base import InputError, require, require_whole

AXIS, RUNS = "pop", "run"
Devices = Sequence[Any] | int  # a sequence of jax.Device, or a number n: the first n devices


def cores() -> int:
    """The number of cores that this process may use: ``NPROC``, which XLA also follows, or what the system allows."""
    if os.environ.get("NPROC", "").isdecimal():
        return max(int(os.environ["NPROC"]), 1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_cores(count: int | None = None) -> None:
    """Make every CPU core a JAX device, so that they share the children. Call it before anything else of JAX.

    Scoring small networks consists of many small operations, each of which is too small for several cores. With cores
    as devices, each core scores its own share of the children. If ``XLA_FLAGS`` already sets the number of devices, it
    is not changed.

    Args:
      count: number of devices, by default the number of cores that this process may use.

    Raises:
      InputError: if ``count`` is below 1, or JAX has already been used and therefore has its devices.
    """
    count = cores() if count is None else count
    require_whole(1, count=count)
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return
    try:
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        raise InputError("JAX has its devices already: call use_cores before anything else of JAX.") from error


def default() -> Sequence[Any]:
    """The default devices of a run: all of this process, and of the processes that joined it."""
    return jax.devices() if jax.process_count() > 1 else jax.local_devices()


def chosen(devices: Devices | None) -> Sequence[Any]:
    """These devices, or the first n for a number n; by default all, see `default`.

    Raises:
      InputError: if there are not that many devices, or the sequence is empty.
    """
    if devices is None:
        return default()
    here = jax.devices()
    if isinstance(devices, int):
        require(1 <= devices <= len(here), f"devices is {devices}, and there are {len(here)}: take 1 to {len(here)}.")
        return here[:devices]
    require(len(devices) > 0, "devices is empty: name at least one.")
    return devices


def mesh(devices: Devices | None = None, runs: int | None = None) -> Mesh:
    """A mesh over these devices, by default all: with one axis "pop", or with ``runs`` along a second axis "run"."""
    devices = chosen(devices)
    shape, names = ((len(devices),), (AXIS,)) if runs is None else ((runs, len(devices) // runs), (RUNS, AXIS))
    return jax.make_mesh(shape, names, axis_types=(AxisType.Auto,) * len(shape), devices=tuple(devices))


def free_memory(devices: int = 1) -> int:
    """Bytes that are free on each device: the memory of an accelerator, or an equal share of the host's for CPUs."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return int(min(_meminfo(), _control_group()) // devices)


def _meminfo() -> int:
    """Bytes of memory that the system has available, on Linux; elsewhere all its memory."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _control_group() -> float:
    """Bytes that the limit of a container or batch job leaves to this process; infinite without such a limit."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
    except (OSError, ValueError):  # no such file, or "max"
        return float("inf")
    return limit - used


def everywhere(tree: Any, mesh: Mesh | None) -> Any:
    """Copy arrays to every device of the mesh; without a mesh, return them as they are.

    If the mesh has devices of other processes, each process copies its own arrays to its own devices. Nothing is sent.
    """
    if mesh is None:
        return tree
    place = NamedSharding(mesh, PartitionSpec())
    if place.is_fully_addressable:
        return jax.device_put(tree, place)

    def put(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf  # already on all devices
        here = [jax.device_put(leaf, device) for device in mesh.local_devices]
        return jax.make_array_from_single_device_arrays(here[0].shape, place, here)

    return jax.tree.map(put, tree)


def on_one(tree: Any) -> Any:
    """Take replicated arrays from the first device only, so that a run can continue on any number of devices."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0) if len(leaf.sharding.device_set) > 1 else leaf, tree)
