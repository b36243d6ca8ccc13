"""The command line of an experiment: a dataclass of arguments, clear errors, exit codes."""

import contextlib
import dataclasses
import io
import itertools
import json
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from jaxga import distributed
from jaxga.base import InputError, require
from jaxga.compilation import keep_programs
from jaxga.devices import use_cores
from jaxga.report.files import read_json
from jaxga.signals import Interrupted


def run_command(main: Callable[[Any], int | None], arguments: type[Any], argv: list[str] | None = None) -> None:
    """Parse the command line, call ``main`` with the arguments, and exit.

    With ``--resume --out DIR``, the arguments of the run in DIR are the defaults, so that none need to be repeated.
    With ``--backend hosts``, the processes connect to each other first. With ``--quick``, programs are compiled faster
    and run slower.

    Exit codes: the value that ``main`` returns (None is 0); 2 for an `InputError`, whose message is printed to stderr;
    130 for Ctrl-C and SIGTERM. In the last case the run has been saved, and a command to resume it is printed.

    Args:
      main: is called with an instance of ``arguments``.
      arguments: a dataclass with at least a field ``out``.
      argv: the command line, by default ``sys.argv[1:]``.
    """
    argv = sys.argv[1:] if argv is None else argv
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        values = _parsed(arguments, argv)
        use_cores()
        keep_programs()
        if getattr(values, "backend", "") == "hosts":
            distributed.initialize()
        if getattr(values, "resume", False):
            saved = json.loads(distributed.from_first(lambda: _saved(values.out)))
            values = _parsed(arguments, argv, default=as_arguments(arguments, saved, values.out))
        if getattr(values, "quick", False):  # quick runs spend most of their time in the compiler
            jax.config.update("jax_disable_most_optimizations", True)
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


def _parsed(arguments: type[Any], argv: list[str], **default: Any) -> Any:
    """The arguments on the command line. If they are wrong, tyro's message becomes an error of one sentence."""
    import tyro

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(arguments, args=argv, **default)
    except SystemExit as stop:
        if stop.code:
            raise InputError(_sentence(said.getvalue())) from None
        raise


def _sentence(box: str) -> str:
    """One sentence from tyro's box: the text between its title and its first rule, and the arguments it suggests."""
    lines = [line.strip(" │|") for line in box.splitlines()[1:]]
    parts = [list(group) for rule, group in itertools.groupby(lines, lambda line: not line.strip("-─╭╮╰╯")) if not rule]
    wrong, *hints = (" ".join(part) for part in parts)
    meant = [re.findall("--[a-z][a-z-]*", hint) for hint in hints if "Perhaps you meant" in hint]
    names = list(dict.fromkeys(itertools.chain(*meant)))[:3]
    advice = f"did you mean {' or '.join(names)}?" if names else "--help says what there is."
    return f"{wrong[0].lower()}{wrong[1:].rstrip('.')}; {advice}"


def exit_code(result: Any) -> int | None:
    """The exit code of an experiment after its last `jaxga.Result`: 1 if it failed, None if it should go on to report.

    If there are several processes, only the first one reports; for the others the code is 0.
    """
    if result.failed:
        return 1
    return None if distributed.is_first() else 0


def _saved(out: Path | None) -> bytes:
    """The arguments with which a run was started, as JSON."""
    if out is None:
        raise InputError("resume needs to know which run: pass --out DIR as well.")
    file = Path(out) / "config.json"
    require(file.exists(), f"{out} holds no run to resume (no config.json): check --out, or start without --resume.")
    saved = read_json(file)
    require(isinstance(saved, dict) and "arguments" in saved, f"{file} is damaged: it has no arguments.")
    return json.dumps(saved["arguments"]).encode()


def as_arguments(arguments: type[Any], saved: dict[str, Any], out: Path) -> Any:
    """An instance of the dataclass of a script's arguments, from those saved in config.json."""
    names = {field.name for field in dataclasses.fields(arguments)}
    return arguments(**{key: _tuple(value) for key, value in saved.items() if key in names} | {"out": out})


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
