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

from jaxga.base import InputError, require
from jaxga.devices import use_cores


def run_command(main: Callable[[Any], int | None], arguments: type[Any], argv: list[str] | None = None) -> None:
    """Parse ``arguments`` (a dataclass with at least ``out``), call ``main`` and exit.

    With ``--resume --out DIR`` the arguments of the run in DIR are the defaults, so that nothing needs to be repeated.
    An `InputError` becomes one sentence on stderr and exit code 2, Ctrl-C exit code 130; what ``main`` returns is the
    exit code otherwise.
    """
    argv = sys.argv[1:] if argv is None else argv
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    values = tyro.cli(arguments, args=argv)
    try:
        use_cores()
        if getattr(values, "resume", False):
            values = tyro.cli(arguments, args=argv, default=_saved(arguments, values.out))
        sys.exit(main(values) or 0)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)


def exit_code(result: Any, out: Path) -> int:
    """What an experiment returns where its last `jaxga.Result` is no end: 130 if interrupted, 1 if failed; else 0.

    Whoever interrupted it is told how to go on.
    """
    if result.interrupted:
        print(f"Stopped and saved. To go on: {os.path.relpath(sys.executable)} {sys.argv[0]} --resume --out {out}")
        return 130
    return int(result.failed)


def _saved(arguments: type[Any], out: Path | None) -> Any:
    """The arguments that a run was started with."""
    if out is None:
        raise InputError("resume needs to know which run: pass --out DIR as well.")
    file = Path(out) / "config.json"
    require(file.exists(), f"{out} holds no run to resume (no config.json): check --out, or start without --resume.")
    names = {field.name for field in dataclasses.fields(arguments)}
    try:
        saved = {key: _tuple(value) for key, value in json.loads(file.read_text())["arguments"].items() if key in names}
    except (ValueError, KeyError) as error:
        raise InputError(f"{file} is damaged ({error}): restore it, or start again with another --out.") from error
    return arguments(**saved | {"out": out})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
