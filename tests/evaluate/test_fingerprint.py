"""What a run is made of shows in its fingerprint, and nothing else does."""

import jax
import jax.numpy as jnp
import pytest

import jaxga
from jaxga import nn, tasks
from jaxga import variation as v
from jaxga.base import as_fitness, as_key
from jaxga.evaluate.fingerprint import describe_run, fingerprint
from jaxga.evaluate.wire import about


def three(_):
    return jnp.ones(3)


def square(_, w):
    return -jnp.sum(w**2)


def made(mutation=None, evaluate=square, chunk=None, **options):
    mutation = mutation or v.gaussian(v.absolute(0.1))
    algorithm = jaxga.ga(three, mutation, **{"parents": 2, "children": 8, **options})
    return algorithm, jaxga.vmapped(algorithm, jaxga.Task(three, evaluate), chunk)


def differing(one, other):
    """The parts of the fingerprint that are not the same."""
    first, second = fingerprint(*one), fingerprint(*other)
    return {name for name in first if first[name] != second[name]}


def test_equal_runs_have_equal_fingerprints_on_any_topology():
    algorithm, evaluator = made(chunk=2)
    assert not differing((algorithm, evaluator), made(chunk=2))
    assert not differing((algorithm, evaluator), (algorithm, jaxga.sharded(evaluator, jax.devices()[:4])))
    assert about(evaluator) == about(made(chunk=2)[1])


@pytest.mark.parametrize(
    ("other", "parts"),
    [
        (lambda: made(v.gaussian(v.absolute(0.2))), {"init"}),
        (lambda: made(v.laplace(v.absolute(0.1))), {"score", "advance"}),
        (lambda: made(evaluate=lambda _, w: -jnp.sum(w**4)), {"score"}),
        (lambda: made(selection=jaxga.selection.roulette), {"select"}),
        (lambda: made(warmup=3), {"select", "advance"}),
    ],
    ids=["step size", "noise", "task", "selection", "warmup"],
)
def test_each_part_shows_what_it_is_of(other, parts):
    assert differing(made(), other()) == parts


def test_workers_that_build_other_parents_are_not_taken_for_equal():
    """They score the first generation alike; the next one they would build otherwise."""
    one, other = (made(recombination=v.average(3, scale=scale, projection=project))
                  for scale, project in ((1.0, None), (1.0, v.decay(0.1))))  # fmt: skip
    assert differing(one, other) == {"advance"}
    assert about(one[1]) != about(other[1])


def game(act):
    found = tasks.envpool_game("CartPole-v1", nn.MLP((2,)))
    return found._replace(act=act(found.act))


def test_workers_that_act_otherwise_are_not_taken_for_equal():
    games = game(lambda act: act), game(lambda act: lambda params, seen: 1 - act(params, seen))
    mutation = v.gaussian(v.absolute(0.1))
    plays = [jaxga.rollouts(jaxga.ga(each.init, mutation, parents=1, children=4), each, envs=2) for each in games]
    assert differing(*((each.algorithm, each) for each in plays)) == {"score"}
    assert about(plays[0]) != about(plays[1])


@pytest.mark.slow
def test_evaluators_know_the_shapes_of_what_they_return():
    env = game(lambda act: act)
    mutation, options = v.gaussian(v.absolute(0.1)), {"parents": 2, "children": 4, "elites": 1, "reevaluate": True}
    algorithm = jaxga.ga(env.init, mutation, champion=jaxga.best_validated, **options)
    plays = jaxga.rollouts(algorithm, env, episodes=2, envs=4)
    _, plain = made(chunk=2, elites=1, reevaluate=True)
    checked = jaxga.validated(made(chunk=2, champion=jaxga.best_validated, elites=1, reevaluate=True)[1], 3, 2)
    for evaluator in (plays, jaxga.validated(plays, 3, 2), plain, jaxga.sharded(plain, jax.devices()[:2]), checked):
        source = evaluator.algorithm.init(as_key(0)).source
        found, due = as_fitness(evaluator(source)), evaluator.like(source)
        assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), found) == jax.tree.map(
            lambda leaf: (leaf.shape, leaf.dtype), due
        )


def test_sizes_stand_beside_the_programs():
    described = describe_run(*made(chunk=2))
    assert (described["parents"], described["children"], described["chunk"]) == (2, 8, 2)
    assert set(described["programs"]) == {"init", "score", "select", "advance"}
