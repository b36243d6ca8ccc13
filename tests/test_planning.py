"""What a run needs is told before it runs, and is what it takes."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

import jaxga
from jaxga import compilation
from jaxga import variation as v

MEASURE = """
import resource
import jaxga
from jaxga import nn, tasks, variation

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
task = tasks.memorization(nn.MLP((500, 10)), points=16, shape=(2000,))  # a million weights
algorithm = jaxga.ga(task.init, variation.gaussian(variation.relative(0.1)), parents=1, children=64)
plan = jaxga.plan(algorithm, task, chunk=64)
jaxga.run(algorithm, task, generations=1, chunk=1)  # whatever a run needs beside
before = peak()
jaxga.run(algorithm, task, generations=1, chunk=64)
print(plan.total, peak() - before)
"""


@pytest.mark.slow
def test_the_plan_is_what_a_run_takes():
    """A chunk of a gigabyte, in a process of its own; with what compiling takes, which is a part of the tolerance."""
    command, environment = [sys.executable, "-c", MEASURE], os.environ | {"XLA_FLAGS": ""}
    run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=200, env=environment)
    planned, taken = map(int, run.stdout.split()[-2:])
    assert planned > 5e8
    assert abs(planned - taken) < 0.15 * taken


def test_what_does_not_fit_is_refused_with_what_would(monkeypatch):
    task = jaxga.Task(lambda _: jnp.ones(5), lambda _, w: jaxga.Evaluation(-jnp.sum(w**2)))
    algorithm = jaxga.ga(task.init, v.gaussian(v.absolute(0.1)), parents=2, children=8)
    needed = jaxga.plan(algorithm, task, chunk=4)
    assert needed.fits
    assert "It fits. So would" in str(needed)
    small = needed._replace(free=needed.total - 1)
    assert not small.fits
    assert small.largest_population < algorithm.children
    assert "Nor would a single child" in str(needed._replace(free=0))
    monkeypatch.setattr(compilation, "free_memory", lambda _: 100)
    with pytest.raises(jaxga.InputError, match=r"needs 0\.0 GB of working memory, .* fewer .*\(chunk\).* jaxga\.plan"):
        jaxga.run(algorithm, task, generations=1, chunk=2)


@pytest.mark.slow
def test_larger_chunks_and_populations_need_what_was_foretold():
    task = jaxga.Task(lambda _: jnp.ones(5000), lambda _, w: jaxga.Evaluation(-jnp.sum(jnp.sin(w) @ jnp.cos(w))))
    make = lambda children: jaxga.ga(task.init, v.gaussian(v.absolute(0.1)), parents=1, children=children)  # noqa: E731
    small, large = jaxga.plan(make(256), task, chunk=64), jaxga.plan(make(65_536), task, chunk=256)
    foretold = small.working + 192 * small.each_of_chunk + 65_280 * small.each
    assert large.working == pytest.approx(foretold, rel=0.2)
    assert small.each_of_chunk > 4 * 5000 > 200 > small.each


def test_the_fastest_chunk_is_measured_once(tmp_path, monkeypatch):
    task = jaxga.Task(lambda _: jnp.ones(5), lambda _, w: jaxga.Evaluation(-jnp.sum(w**2)))
    algorithm = jaxga.ga(task.init, v.gaussian(v.absolute(0.1)), parents=2, children=8)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    chunk = jaxga.best_chunk(algorithm, task, candidates=(1, 4), seconds=0.01)
    file = tmp_path / "jaxga" / "chunks.json"
    assert list(json.loads(file.read_text()).values()) == [chunk]
    assert chunk in (1, 4)
    file.write_text(json.dumps(dict.fromkeys(json.loads(file.read_text()), 7)))
    assert jaxga.best_chunk(algorithm, task, candidates=(1, 4)) == 7
    with pytest.raises(jaxga.InputError, match="candidates is empty"):
        jaxga.best_chunk(algorithm, task, candidates=())


def test_founders_drawn_afresh_can_be_planned():
    task = jaxga.Task(lambda key: jax.random.normal(key, (5,)), lambda _, w: jaxga.Evaluation(-jnp.sum(w**2)))
    mutation = v.gaussian(v.absolute(0.1))
    algorithm = jaxga.ga(task.init, mutation, parents=2, children=8, founders=jaxga.random_founders)
    assert jaxga.plan(algorithm, task).fits
