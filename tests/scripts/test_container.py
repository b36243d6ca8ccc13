"""The Dockerfile: its steps in a clean directory, and its build where there is a docker that builds."""

import re
import shutil
import subprocess
import sys

import pytest
from places import ROOT

TEXT = (ROOT / "Dockerfile").read_text()


def steps(word):
    return re.findall(rf"^{word} (.*)$", TEXT, re.MULTILINE)


def test_what_is_copied_is_there_and_is_not_ignored():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for step in steps("COPY") for source in step.split()[:-1]}
    assert copied == kept
    assert all((ROOT / source).exists() for source in copied)


def test_what_is_installed_has_extras_of_that_name():
    (extras,) = re.findall(r"^ARG EXTRAS=(\S+)$", TEXT, re.MULTILINE)
    others = re.findall(r"EXTRAS=(\S+)", TEXT)
    declared = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text().split("optional-dependencies")[1], re.M)
    assert extras in others
    assert {name for group in others for name in group.split(",")} <= set(declared)


def test_it_does_not_run_as_root_and_ends_in_a_command():
    user = TEXT.index("\nUSER evolve")
    assert user > TEXT.index("\nRUN pip install")
    assert steps("CMD") == ['["jaxga", "doctor"]']


@pytest.mark.slow
def test_what_is_copied_is_enough_to_build(tmp_path):
    """pip makes a wheel of what the image holds, and nothing else."""
    for step in steps("COPY"):
        for source in step.split()[:-1]:
            there = ROOT / source
            copy = shutil.copytree if there.is_dir() else shutil.copy
            copy(there, tmp_path / source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", "out", "."]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=250)
    (wheel,) = (tmp_path / "out").glob("jaxga-*.whl")
    assert wheel.stat().st_size > 100_000


@pytest.mark.slow
def test_docker_builds_it():
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("there is no docker here that builds")
    built = subprocess.run(
        ["docker", "build", "--quiet", "-t", "jaxga:test", str(ROOT)], capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    shown = subprocess.run(["docker", "run", "--rm", "jaxga:test"], capture_output=True, text=True, check=True).stdout
    assert "device 0" in shown
