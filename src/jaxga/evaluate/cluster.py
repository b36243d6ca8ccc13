"""Connection to a Ray cluster, which is started on this machine if there is none."""

import logging
import os
import socket
import warnings
from typing import Any

from jaxga.base import InputError
from jaxga.devices import cores

LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # "0": Ray stays on 127.0.0.1, so that no other machine reaches it


def ray() -> Any:
    """The Ray library.

    Raises:
      InputError: if it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError("Ray is not installed: pip install 'jaxga[ray]'.") from error
    return ray


def connect(address: str | None = None) -> None:
    """Join the cluster at this address, or at ``RAY_ADDRESS``; if neither is given, start one on this machine.

    A cluster that is started here listens on the loopback address only.

    Raises:
      InputError: if no cluster answers at the address, or it refuses the connection.
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
    """Does a server listen at ``host:port``? Ray itself would try for minutes. False for words such as ``auto``."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return False
    socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    return True
