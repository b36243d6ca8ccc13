"""The command line of an experiment: a dataclass of arguments, clear errors, exit codes."""

import dataclasses
import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tyro

from jaxga import distributed
from jaxga.base import InputError, require
from jaxga.compilation import keep_programs
from jaxga.devices import use_cores
from jaxga.report.files import read_json
from jaxga.signals import Interrupted


def run_command(main: Callable[[Any], int | None], arguments: type[Any], argv: list[str] | None = None) -> None:
    """Parse ``arguments`` (a dataclass with at least ``out``), call ``main`` and exit.

    With ``--resume --out DIR`` the arguments of the run in DIR are the defaults, so that nothing needs to be repeated.
    With ``--backend hosts`` the processes find one another first. An `InputError` becomes one sentence on stderr and
    exit code 2. Ctrl-C and SIGTERM end it with exit code 130: a run has then saved, and it is said how to go on. What
    ``main`` returns is the exit code otherwise.
    """
    argv = sys.argv[1:] if argv is None else argv
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    values = tyro.cli(arguments, args=argv)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        use_cores()
        keep_programs()
        if getattr(values, "backend", "") == "hosts":
            distributed.initialize()
        if getattr(values, "resume", False):
            saved = json.loads(distributed.from_first(lambda: _saved(values.out)))
            values = tyro.cli(arguments, args=argv, default=_as_arguments(arguments, saved, values.out))
        sys.exit(main(values) or 0)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except Interrupted as stopped:
        if distributed.is_first():
            print(_how_to_go_on(stopped.directory))
        sys.exit(130)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)


def _how_to_go_on(directory: Path | None) -> str:
    if directory is None:
        return "Stopped. The run that was going on has no directory, and was not saved."
    return f"Stopped and saved. To go on: {os.path.relpath(sys.executable)} {sys.argv[0]} --resume --out {directory}"


def exit_code(result: Any) -> int | None:
    """What an experiment returns after its last `jaxga.Result`: 1 if it failed, None if it goes on to report.

    Of many processes the first one alone goes on.
    """
    if result.failed:
        return 1
    return None if distributed.is_first() else 0


def _saved(out: Path | None) -> bytes:
    """The arguments that a run was started with, as JSON."""
    if out is None:
        raise InputError("resume needs to know which run: pass --out DIR as well.")
    file = Path(out) / "config.json"
    require(file.exists(), f"{out} holds no run to resume (no config.json): check --out, or start without --resume.")
    saved = read_json(file)
    require(isinstance(saved, dict) and "arguments" in saved, f"{file} is damaged: it has no arguments.")
    return json.dumps(saved["arguments"]).encode()


def _as_arguments(arguments: type[Any], saved: dict[str, Any], out: Path) -> Any:
    names = {field.name for field in dataclasses.fields(arguments)}
    return arguments(**{key: _tuple(value) for key, value in saved.items() if key in names} | {"out": out})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
