"""The command line of an experiment: a dataclass of arguments, clear errors, exit codes."""

import dataclasses
import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from jaxga import distributed
from jaxga.base import InputError, require
from jaxga.devices import use_cores


def run_command(main: Callable[[Any], int | None], arguments: type[Any], argv: list[str] | None = None) -> None:
    """Parse ``arguments`` (a dataclass with at least ``out``), call ``main`` and exit.

    With ``--resume --out DIR`` the arguments of the run in DIR are the defaults, so that nothing needs to be repeated.
    With ``--backend hosts`` the processes find one another first. An `InputError` becomes one sentence on stderr and
    exit code 2, Ctrl-C exit code 130; what ``main`` returns is the exit code otherwise.
    """
    argv = sys.argv[1:] if argv is None else argv
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    values = tyro.cli(arguments, args=argv)
    try:
        use_cores()
        if getattr(values, "backend", "") == "hosts":
            distributed.initialize()
        if getattr(values, "resume", False):
            saved = json.loads(distributed.from_first(lambda: _saved(values.out)))
            values = tyro.cli(arguments, args=argv, default=_as_arguments(arguments, saved, values.out))
        sys.exit(main(values) or 0)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)


def exit_code(result: Any, out: Path) -> int | None:
    """What an experiment returns after its last `jaxga.Result`: 130 if interrupted, 1 if failed; None: it goes on.

    Whoever interrupted it is told how to go on. Of many processes the first one alone goes on to report.
    """
    if result.interrupted and distributed.is_first():
        print(f"Stopped and saved. To go on: {os.path.relpath(sys.executable)} {sys.argv[0]} --resume --out {out}")
    if result.interrupted or result.failed:
        return 130 if result.interrupted else 1
    return None if distributed.is_first() else 0


def unless_interrupted(result: Any) -> Any:
    """The `jaxga.Result`; where a signal ended its run, KeyboardInterrupt.

    For a series of runs without files: a signal is to end the series, and not one of its runs.
    """
    if result.interrupted:
        raise KeyboardInterrupt
    return result


def _saved(out: Path | None) -> bytes:
    """The arguments that a run was started with, as JSON."""
    if out is None:
        raise InputError("resume needs to know which run: pass --out DIR as well.")
    file = Path(out) / "config.json"
    require(file.exists(), f"{out} holds no run to resume (no config.json): check --out, or start without --resume.")
    try:
        return json.dumps(json.loads(file.read_text())["arguments"]).encode()
    except (ValueError, KeyError) as error:
        raise InputError(f"{file} is damaged ({error}): restore it, or start again with another --out.") from error


def _as_arguments(arguments: type[Any], saved: dict[str, Any], out: Path) -> Any:
    names = {field.name for field in dataclasses.fields(arguments)}
    return arguments(**{key: _tuple(value) for key, value in saved.items() if key in names} | {"out": out})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
