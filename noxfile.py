"""The tests on every JAX that a newcomer may have: `nox`, or `make versions`. What came out: docs/versions.md.

`nox -- quick` runs the core of the suite alone, `nox -s "tests(newest)"` one environment, and `nox -- tests/test_nn.py`
whatever pytest is told. A Python that this machine lacks is skipped, with a message.
"""

import os
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.reuse_venv = "yes"

SETTINGS = nox.project.load_toml("pyproject.toml")
EXTRAS = "ant", "control", "data", "games", "goals", "ray"  # all that the tests use


def lowest() -> list[str]:
    """The lower bounds in pyproject.toml, as exact versions."""
    project, groups = SETTINGS["project"], SETTINGS["dependency-groups"]
    optional = [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
    return [line.replace(">=", "==") for line in (*project["dependencies"], *optional, *groups["dev"])]


# Its name, a Python, and what is installed there beside the newest of everything else.
ENVIRONMENTS = {
    "oldest": ("3.11", lowest()),
    "jax-0.10": ("3.11", ["jax==0.10.*"]),
    "jax-0.11": ("3.12", ["jax==0.11.*"]),
    "newest": ("3.13", ["jax>=0.12"]),
}

CORE = [
    "algorithm",
    "control",
    "evaluate",
    "export",
    "interpret",
    "lowrank",
    "nn",
    "noise",
    "run",
    "selection",
    "tree",
    "validated",
]

# Pythons that pyenv has, but not under their own names.
homes = [str(home) for home in Path("~/.pyenv/versions").expanduser().glob("3.*/bin")]
os.environ["PATH"] = os.pathsep.join([*homes, os.environ["PATH"]])


@nox.session
@nox.parametrize("python,versions", list(ENVIRONMENTS.values()), ids=list(ENVIRONMENTS))
def tests(session: nox.Session, versions: list[str]) -> None:
    """The default suite in one process, or its core, with ``quick``."""
    session.install("--editable", f".[{','.join(EXTRAS)}]", "--group", "dev", *versions)
    session.run("python", "-m", "pip", "list", "--format=freeze")
    # Each version has a cache of its own: it complains on the terminal of programs that another one compiled.
    session.env["JAX_COMPILATION_CACHE_DIR"] = str(Path(session.virtualenv.location) / "programs")
    session.env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
    core = [str(path) for name in CORE for path in Path("tests").rglob(f"test_{name}.py")]
    chosen = core if session.posargs == ["quick"] else session.posargs
    session.run("python", "-m", "pytest", "-q", "-m", "not slow", *chosen)
