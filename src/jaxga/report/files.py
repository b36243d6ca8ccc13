"""The directory of a run: config.json, metrics.jsonl, TensorBoard events, summary.json."""

import contextlib
import hashlib
import json
import math
import os
import platform
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxga._version import __version__
from jaxga.base import InputError, require
from jaxga.distributed import from_first

Record = dict[str, Any]  # one logged generation

BUDGET = frozenset(
    {
        "out",
        "resume",
        "generations",
        "rounds",
        "seconds",
        "target",
        "progress",
        "frames",
        "envs",
        "threads",
        "dollars_per_hour",
    }
    | {"backend", "workers"}
)
"""Arguments that say how long and where to run, and where to write. They may change when a run is resumed."""


def identity(name: str, arguments: dict[str, Any]) -> str:
    """The id of a run: a hash of its name and of all arguments except those in `BUDGET`.

    >>> identity("noise", {"sigma": 0.02, "out": "a"}) == identity("noise", {"sigma": 0.02, "out": "b"})
    True
    """
    kept = {key: value for key, value in arguments.items() if key not in BUDGET}
    return hashlib.sha256(json.dumps([name, kept], sort_keys=True, default=str).encode()).hexdigest()[:10]


def find_run(name: str, arguments: dict[str, Any], root: str | Path = "runs") -> Path:
    """A new path ``runs/<name>/<id>`` for a run. If it exists, a number is appended: ``<id>-2``, ``<id>-3``, ...

    Args:
      name: of the experiment.
      arguments: of the run; the id is a hash of them, see `identity`.
      root: directory of all runs, by default ``runs``.
    """
    first = Path(root) / name / identity(name, arguments)
    candidates = [first, *(first.with_name(f"{first.name}-{number}") for number in range(2, 10_000))]
    return next(path for path in candidates if not path.exists())


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
      InputError: if it cannot be read.
    """
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}): restore it, or start again in another directory.") from error


def make_directory(path: Path) -> Path:
    """Make the directory ``path`` and those above it, if they do not exist, and return ``path``.

    Raises:
      InputError: if that is not possible.
    """
    _not_a_file(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out is {path}, which cannot be made ({error.strerror}): name another directory.") from error
    return path


def _not_a_file(path: Path) -> None:
    require(not path.exists() or path.is_dir(), f"out is {path}, a file: name a directory.")


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file atomically: other processes see the old file or the new one, never a part.

    Args:
      path: of the file.
      data: dicts, lists, strings, numbers and arrays of one number. NaN and infinities become null; other values become
        text.
    """
    write_text(path, json.dumps(_plain(data), indent=2, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: other processes see the old file or the new one, never a part."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.replace(path)


def whole_lines(path: Path) -> list[str]:
    """The lines of a JSON lines file. A crash can leave an incomplete last line, which is left out."""
    *whole, last = path.read_text().split("\n")
    return [*whole, last] if last.endswith("}") else whole


def _git_commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def describe_machine() -> dict[str, Any]:
    """Versions, commit and device, to be published together with results."""
    device = jax.devices()[0]
    return {
        "jaxga": __version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "commit": _git_commit(),
        "platform": platform.platform(),
        "backend": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
    }


class RunDirectory:
    """The directory of a run, for ``jaxga.run(directory=...)``. It stores the configuration and what the run logs.

    Args:
      path: of the directory, which is made if it does not exist.
      name: of the experiment.
      arguments: all arguments of the experiment. They are written to config.json, and all except those in `BUDGET`
        determine the id of the run.
      resume: continue the run that is in the directory, by default False.
      notes: further entries of config.json.

    Raises:
      InputError: if the directory holds another run, or holds this run and ``resume`` is not set.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        name: str,
        arguments: dict[str, Any],
        resume: bool = False,
        notes: Record | None = None,
    ):
        self.path = Path(path)
        arguments = json.loads(json.dumps(arguments, default=str))
        about = {"name": name, "arguments": arguments, **(notes or {}), **describe_machine()}
        self.config = {"id": identity(name, arguments), **about}
        self.resume = resume
        self._metrics: Any = None
        self._events: Any = None
        from_first(self._open)

    def _open(self) -> bytes:
        self._check(self.resume)
        make_directory(self.path)
        write_json(self.path / "config.json", self.config)
        return b""

    def _check(self, resume: bool) -> None:
        file = self.path / "config.json"
        _not_a_file(self.path)
        if not file.exists():
            return
        old = read_json(file)
        differing = _differences(old, self.config)
        require(
            not differing,
            f"out is {self.path}, which holds another run ({differing}): choose another --out, or the same arguments.",
        )
        require(resume, f"out is {self.path}, which holds this run already: pass --resume, or choose another --out.")
        self.config |= {"run": old["run"]} if "run" in old else {}

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """A context in which no other run, of this process or of another, can write to the directory.

        Raises:
          InputError: if another run is writing there.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / ".lock")

        def take() -> bytes:
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                raise InputError(
                    f"another run is writing in {self.path}: wait until it is over, or choose another directory."
                ) from error
            return b""

        from_first(take)
        try:
            yield
        finally:
            lock.release()

    def made_with(self, run: Record) -> None:
        """Write the sizes and hashes of a run (`jaxga.evaluate.fingerprint.describe_run`) to config.json.

        Raises:
          InputError: if the directory holds a run with other sizes or hashes.

        Warns:
          RuntimeWarning: if that run was begun with other versions of jaxga or JAX.
        """

        def compare() -> bytes:
            there = self.config.get("run")
            differing = differences(there, run) if there else []
            require(
                not differing,
                f"{self.path} holds a run of another algorithm or task ({', '.join(differing)}): choose another "
                "directory; to go on from its result with another one, pass run(state=...) a state of that run.",
            )
            if there and there["versions"] != run["versions"]:
                warnings.warn(
                    f"the run in {self.path} was begun with {there['versions']}, and goes on with {run['versions']}: "
                    "whether its programs are the same was not compared, and last bits may differ.",
                    RuntimeWarning, stacklevel=2,
                )  # fmt: skip
            self.config["run"] = run
            write_json(self.path / "config.json", self.config)
            return b""

        from_first(compare)

    @property
    def checkpoints(self) -> Path:
        """The directory of the checkpoints."""
        return self.path / "checkpoints"

    def start(self, generation: int, generations: int) -> None:
        """Prepare to log from ``generation`` on. Later generations, logged before a crash, are removed."""
        del generations
        file = self.path / "metrics.jsonl"
        if file.exists():
            lines = enumerate(whole_lines(file), 1)
            kept = [line for number, line in lines if _generation(file, number, line) < generation]
            write_text(file, "".join(line + "\n" for line in kept))
        self._metrics = open(file, "a", buffering=1)  # noqa: SIM115 (closed by close)
        from tensorboardX import SummaryWriter

        self._events = SummaryWriter(str(self.path / "tensorboard"), purge_step=generation)

    def write(self, records: Sequence[Record]) -> None:
        """Log generations: one line of metrics.jsonl for each, and the same values as TensorBoard events."""
        for record in records:
            self._metrics.write(json.dumps(_plain(record)) + "\n")
            for key, value in record.items():
                if key != "generation" and value == value:  # NaN is not written as an event
                    self._events.add_scalar(key, value, record["generation"])

    def close(self) -> None:
        """Close the files."""
        if self._metrics is not None:
            self._metrics.close()
            self._events.close()


def _generation(file: Path, number: int, line: str) -> int:
    try:
        return json.loads(line)["generation"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{file} is damaged in line {number} ({error}): mend or delete that line, then resume."
        ) from error


def _plain(value: Any) -> Any:
    """A value that JSON can hold: arrays of one number become plain numbers, NaN and infinities become null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


PROGRAMS = {
    "init": "other first parents or step sizes",
    "score": "another variation, task or data",
    "select": "another selection or recombination",
    "advance": "another recombination",
}  # the programs of a run, and what a difference means; if one differs, those below it usually do, too


def differences(there: Record, here: Record) -> list[str]:
    """In words, the differences between two runs that `jaxga.evaluate.fingerprint.describe_run` describes.

    Entries that an earlier version did not write are not compared. Hashes are compared only if both were made by the
    same versions, because other versions write the same program differently.
    """
    hashes = {"state", "programs"} if there.get("versions") != here["versions"] else {"programs"}
    sizes = [name for name in here if name in there and name not in hashes | {"versions"}]
    found = [f"{name} {there[name]} there, {here[name]} here" for name in sizes if there[name] != here[name]]
    if found or there.get("versions") != here["versions"]:
        return found
    programs = there.get("programs", {})
    return [what for name, what in PROGRAMS.items() if programs.get(name) != here["programs"].get(name)][:1]


def _differences(old: Record, new: Record) -> str:
    if old.get("id") == new["id"]:
        return ""
    if old.get("name") != new["name"]:
        return f"{old.get('name')}, not {new['name']}"
    before, after = old.get("arguments", {}), new["arguments"]
    names = [key for key in sorted({*before, *after} - BUDGET) if before.get(key) != after.get(key)]
    return ", ".join(f"{key} {before.get(key)} there, {after.get(key)} here" for key in names)
