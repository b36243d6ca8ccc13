"""Workers of a real Ray cluster on loopback: killed, stopped, late, or of another make; the result stays the same."""

import os
import signal
import socket
import sys
import threading
import time
from functools import partial
from typing import Any

import chex
import jax
import numpy as np
import psutil
import pytest

import jaxga
from jaxga import nn, tasks
from jaxga import variation as v
from jaxga.evaluate import cluster as clusters
from jaxga.evaluate import validated

pools: Any = sys.modules["jaxga.evaluate.pool"]  # whose name is also that of a function
os.environ[clusters.LOOPBACK] = "0"  # read when Ray is imported
ray = pytest.importorskip("ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own


@pytest.fixture(scope="module")
def cluster():
    """One that is empty: a head without room for workers."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {"num_cpus": 0, "include_dashboard": False, "node_ip_address": "127.0.0.1"}
    found = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=found.address, log_to_driver=False)
    yield found
    ray.shutdown()
    found.shutdown()


def add(cluster, **options):
    """A node more."""
    return cluster.add_node(node_ip_address="127.0.0.1", **options)


def make(parents=2, sigma=0.3, elites=0, founders=jaxga.common_founder, average=None, slow=0.0):
    """Eight vectors to be memorized; cross-entropy, so that every bit counts."""
    task = tasks.memorization(nn.MLP((8, 4)), points=8, shape=(16,), classes=4)
    if slow:
        quick = task.evaluate

        def wait(fitness):
            time.sleep(slow)
            return fitness

        def evaluate(key, params):
            score = quick(key, params)
            shape = jax.ShapeDtypeStruct((), np.float32)
            return score._replace(fitness=jax.pure_callback(wait, shape, score.fitness, vmap_method="sequential"))

        task = task._replace(evaluate=evaluate)
    algorithm = jaxga.ga(
        task.init, v.low_rank(v.multiplicative(v.relative(sigma))), parents=parents, children=16, elites=elites,
        reevaluate=elites > 0, founders=founders, recombination=v.average(average, v.by_rank) if average else None,
    )  # fmt: skip
    return jaxga.vmapped(algorithm, task, 2)


def run(evaluator, generations=6, **options):
    return jaxga.run(evaluator.algorithm, evaluator, 3, generations=generations, **options)


def same(one, other):
    chex.assert_trees_all_equal(one.pedigree.recipes, other.pedigree.recipes)
    chex.assert_trees_all_equal(one.state.parents, other.state.parents)


def processes():
    """Of workers that are there."""
    everyone = psutil.Process().children(recursive=True)
    return [process for process in everyone if process.name().startswith("ray::Worker")]


@pytest.fixture(scope="module")
def two(cluster):
    """Room for two workers."""
    nodes = [add(cluster, num_cpus=1) for _ in range(2)]
    yield nodes
    for node in nodes:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)


@pytest.fixture
def hired(two):
    """`pool`, whose workers go when the test is over."""
    assert len(two) == 2
    opened = []

    def hire(made, **options):
        opened.append(jaxga.pool(made, **options))
        return opened[-1]

    yield hire
    for found in opened:
        found.close()


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="a mutation of one", marks=pytest.mark.slow),
        pytest.param(
            {"parents": 8, "elites": 1, "founders": jaxga.random_founders},
            id="founders and an elite",
            marks=pytest.mark.slow,
        ),
        pytest.param({"average": 4}, id="averages", marks=pytest.mark.slow),
    ],
)
def test_a_run_is_that_of_one_process(hired, options):
    made = partial(make, **options)
    evaluator = hired(made)
    same(run(evaluator), run(made()))
    assert evaluator.tally.workers == 2
    assert evaluator.tally.lost == 0
    assert set(run(evaluator, 1).history["workers"]) <= {1, 2}


@pytest.mark.slow
def test_a_second_run_with_the_same_workers_starts_afresh(hired):
    evaluator = hired(make, workers=1)
    first = run(evaluator)
    same(first, run(evaluator))
    assert evaluator.tally.workers == 1


@pytest.mark.slow
def test_a_generation_costs_bytes_and_not_parameters(hired):
    """Whatever the network, a worker is told 4 bytes a parent, and answers 8 and the metrics for a child."""
    evaluator = hired(make, workers=1)
    run(evaluator, 3)
    before = evaluator.tally.sent, evaluator.tally.received
    run(evaluator, 3)
    run(evaluator, 3)
    sent, received = evaluator.tally.sent - before[0], evaluator.tally.received - before[1]
    assert sent == 2 * 2 * 2 * 4  # runs, generations after the first, parents
    scores = 16 * 3 * 4 + 4 * 4  # of a generation: fitness and two metrics of a child, the tiebreak of a slice
    assert received == 2 * 3 * scores


class Trouble:
    """Does something to a worker every so often, as long as a run goes on."""

    def __init__(self, does, every=1.0):
        self.does, self.every, self.times, self.over = does, every, 0, threading.Event()
        self.thread = threading.Thread(target=self.loop, daemon=True)

    def loop(self):
        while not self.over.wait(self.every):
            found = processes()
            if found:
                self.does(found[self.times % len(found)])
                self.times += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.over.set()
        self.thread.join()


@pytest.mark.slow
def test_workers_are_killed_and_nothing_is_lost(hired):
    evaluator = hired(partial(make, slow=0.05), slices=8)
    with Trouble(lambda process: process.kill(), 10.0) as trouble:
        survived = run(evaluator, 60)
    same(survived, run(make(), 60))
    assert trouble.times >= 2
    assert evaluator.tally.workers > 2
    assert 0 < evaluator.tally.lost <= trouble.times * pools.AHEAD


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(hired, monkeypatch):
    monkeypatch.setattr(pools, "PULSE", 0.5)
    evaluator = hired(make, patience=2.0, workers=1)
    run(evaluator, 1)
    (stopped,) = processes()
    stopped.send_signal(signal.SIGSTOP)
    same(run(evaluator), run(make()))
    assert evaluator.tally.silent == 1
    stopped.wait(20)


@pytest.mark.slow
def test_nodes_leave_and_join_in_the_middle_of_a_run(cluster, hired, two):
    evaluator = hired(partial(make, slow=0.02), slices=8)
    joined = []

    def change(state, _):
        if int(state.generation) == 3:
            cluster.remove_node(two[0], allow_graceful=False)
        if int(state.generation) == 6:
            joined.append(add(cluster, num_cpus=2))

    changed = run(evaluator, 30, hooks=[change])
    same(changed, run(make(), 30))
    assert changed.history["workers"].min() == 1
    assert changed.history["workers"].max() == 3
    cluster.remove_node(joined[0])
    two[0] = add(cluster, num_cpus=1)


@pytest.mark.slow
def test_an_elite_is_validated_by_workers(hired):
    def made():
        noisy = lambda key, w: jaxga.Evaluation(-(w**2).sum() + jax.random.normal(key))  # noqa: E731
        task = jaxga.Task(lambda _: jax.numpy.ones(3), noisy, jaxga.independent)
        algorithm = jaxga.ga(
            task.init, v.gaussian(v.absolute(0.1)), parents=2, children=16, elites=1, reevaluate=True,
            champion=jaxga.best_validated,
        )  # fmt: skip
        return jaxga.vmapped(algorithm, task, 2)

    evaluator = hired(made)
    validate = partial(validated, candidates=3, episodes=4)
    one, other = (jaxga.run(evaluator.algorithm, validate(by), generations=5) for by in (evaluator, made()))
    chex.assert_trees_all_equal(one.pedigree.recipes, other.pedigree.recipes)


@pytest.mark.slow
def test_games_are_played_by_workers(hired):
    def made():
        game = tasks.envpool_game("CartPole-v1", nn.MLP((2,)), max_steps=60)
        algorithm = jaxga.ga(game.init, v.gaussian(v.absolute(1.0)), parents=2, children=16, elites=1, reevaluate=True)
        return jaxga.rollouts(algorithm, game, envs=4, threads=1)

    evaluator = hired(made)
    one, other = (jaxga.run(evaluator.algorithm, by, generations=3) for by in (evaluator, made()))
    same(one, other)
    assert one.history[jaxga.STEPS].tolist() == other.history[jaxga.STEPS].tolist()


@pytest.mark.slow
def test_a_worker_of_another_configuration_is_left_out(cluster, hired):
    def made():
        return make(sigma=float(os.environ.get("SIGMA_HERE", "0.3")))

    stranger = add(cluster, num_cpus=1, env_vars={"SIGMA_HERE": "0.9"})
    try:
        evaluator = hired(made)
        found = []

        def all_greeted():
            while len(evaluator.parked) + len(evaluator.here) < 3:
                found.append(run(evaluator))

        with pytest.warns(RuntimeWarning, match="made by another configuration, or from other data: it is left out"):
            all_greeted()
        same(found[-1], run(make()))
        assert len(evaluator.here) == 2
    finally:
        evaluator.close()
        cluster.remove_node(stranger)


@pytest.mark.slow
def test_another_version_is_refused_in_a_sentence(hired, monkeypatch):
    evaluator = hired(make, workers=1)
    monkeypatch.setattr(evaluator, "about", evaluator.about._replace(jaxga="9.9.9"))
    sentence = rf"a worker on .* has jaxga {jaxga.__version__}, and this is 9.9.9: it is left out"
    with pytest.warns(RuntimeWarning, match=sentence), pytest.raises(jaxga.InputError, match=sentence):
        run(evaluator)


@pytest.mark.slow
def test_a_worker_that_cannot_begin_is_an_error(hired):
    def made():
        if ray.get_runtime_context().worker.mode == ray.WORKER_MODE:
            raise OSError("no images here")
        return make()

    evaluator = hired(made, workers=1)
    with pytest.warns(RuntimeWarning, match="could not begin"), pytest.raises(jaxga.InputError, match="no images here"):
        run(evaluator)


def test_no_workers_is_an_error():
    with pytest.raises(jaxga.InputError, match="workers is 0, and must be 1 or more"):
        jaxga.pool(make, workers=0)


def test_an_address_where_nobody_listens_is_an_error_at_once(monkeypatch):
    """Ray itself would try for minutes."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(jaxga.InputError, match=r"no Ray cluster answers at 127\.0\.0\.1:9: start one with `ray start"):
        jaxga.pool(make, address="127.0.0.1:9")


def test_a_cluster_that_lets_nobody_in_is_told_from_none(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(jaxga.InputError, match=rf"the Ray cluster at {address} lets nobody in .* RAY_AUTH_MODE"):
            jaxga.pool(make, address=address)
