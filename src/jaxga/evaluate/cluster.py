"""A Ray cluster: found, or started on this machine."""

import logging
import os
import socket
import warnings
from typing import Any

from jaxga.base import InputError
from jaxga.devices import cores

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # Ray's name for: this machine has an address for others


def ray() -> Any:
    """The library, or how to get it."""
    try:
        import ray
    except ImportError as error:
        raise InputError("Ray is not installed: pip install 'jaxga[ray]'.") from error
    return ray


def connect(address: str | None = None) -> None:
    """Join the cluster at this address, or at ``RAY_ADDRESS``; where neither is given, start one on this machine.

    That one listens on loopback alone.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if not address:
        os.environ.setdefault(LOOPBACK, "0")  # before Ray is imported
    library = ray()
    if library.is_initialized():
        return
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # JAX, of processes that are forked
            library.init("local", num_cpus=cores(), include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
        return
    listens = False
    try:
        listens = _knock(address)
        library.init(address, **quiet)
    except OSError as error:  # of which ConnectionError is one
        nobody = (
            f"no Ray cluster answers at {address}: start one with `ray start --head`, or unset RAY_ADDRESS to have one "
            "on this machine."
        )
        closed = (
            f"the Ray cluster at {address} lets nobody in from here: take the RAY_AUTH_MODE, the token and the version "
            "of Ray that it was started with."
        )
        raise InputError(closed if listens else nobody) from error


def _knock(address: str) -> bool:
    """Does anybody listen at ``host:port``? Ray itself tries for minutes. Words like ``auto`` it looks up quickly."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return False
    socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    return True
