"""Devices, and CPU cores as devices."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxga.base import InputError, require, require_whole

AXIS, RUNS = "pop", "run"
Devices = Sequence[Any] | int  # of jax.Device, or the first so many of those that there are


def cores() -> int:
    """How many this process may use: ``NPROC``, which XLA heeds too, or all that the system leaves to it."""
    if os.environ.get("NPROC", "").isdecimal():
        return max(int(os.environ["NPROC"]), 1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_cores(count: int | None = None) -> None:
    """Make every CPU core a device of its own, ``count`` of them. To be called before anything else of JAX.

    A population of small networks is many small operations, which do not fill two cores one after the other; its
    halves, side by side, do. By default as many as this process may use. Where ``XLA_FLAGS`` already says how many
    devices there are, that is left as it is.

    Raises:
      InputError: where JAX has been used already, and so has its devices.
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
    """The devices that a run takes where none are named: all of this process, and of those that joined it."""
    return jax.devices() if jax.process_count() > 1 else jax.local_devices()


def chosen(devices: Devices | None) -> Sequence[Any]:
    """These devices, or the first so many; by default all, see `default`."""
    if devices is None:
        return default()
    here = jax.devices()
    if isinstance(devices, int):
        require(1 <= devices <= len(here), f"devices is {devices}, and there are {len(here)}: take 1 to {len(here)}.")
        return here[:devices]
    require(len(devices) > 0, "devices is empty: name at least one.")
    return devices


def mesh(devices: Devices | None = None, runs: int | None = None) -> Mesh:
    """A mesh with one axis, "pop", over these devices, by default all; or with two, "run" and "pop"."""
    devices = chosen(devices)
    shape, names = ((len(devices),), (AXIS,)) if runs is None else ((runs, len(devices) // runs), (RUNS, AXIS))
    return jax.make_mesh(shape, names, axis_types=(AxisType.Auto,) * len(shape), devices=tuple(devices))


def free_memory(devices: int = 1) -> int:
    """Bytes that are free for each of so many devices: an accelerator's own, an equal share of the host's for CPUs."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return int(min(_meminfo(), _control_group()) // devices)


def _meminfo() -> int:
    """What the system has to give, on Linux; elsewhere all of it."""
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _control_group() -> float:
    """What a container or a batch job leaves to this process; without such a limit, anything."""
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = (int((group / f"memory.{name}").read_text()) for name in ("max", "current"))
    except (OSError, ValueError):  # no such file, or "max"
        return float("inf")
    return limit - used


def everywhere(tree: Any, mesh: Mesh | None) -> Any:
    """The same arrays on every device of the mesh; without one, as they are.

    Where the mesh has devices of other processes, each puts on its own what it has itself: nothing is sent.
    """
    if mesh is None:
        return tree
    place = NamedSharding(mesh, PartitionSpec())
    if place.is_fully_addressable:
        return jax.device_put(tree, place)

    def put(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf  # there already
        here = [jax.device_put(leaf, device) for device in mesh.local_devices]
        return jax.make_array_from_single_device_arrays(here[0].shape, place, here)

    return jax.tree.map(put, tree)


def on_one(tree: Any) -> Any:
    """What is on every device, on the first one alone: so that it goes on on any other number of them."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0) if len(leaf.sharding.device_set) > 1 else leaf, tree)
