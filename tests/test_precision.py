"""The same numbers where JAX computes in 64 bits, and nothing that is NaN on the way: genes, networks, tasks."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxga import memory, nn, selection, tasks
from jaxga import variation as v
from jaxga.base import Context, Evaluation, Individual, as_fitness
from jaxga.lowrank import dense

KEY = jax.random.key(0)
HEADS = memory.PrototypeMemory(4, heads=5, start="random")
PROJECTED = memory.PrototypeMemory(4, heads=5, start="random", dimension=4)
GENES = {
    "walk": memory.gene(memory.walk, v.absolute(0.1)),
    "all turn": memory.gene(memory.turn, v.absolute(0.1), heads=None),
    "free": memory.gene(memory.replace, choose=memory.free_head),
    "used": memory.gene(memory.erase, choose=memory.used_head, heads=2),
    "plastic": memory.gene(memory.of_label(memory.replace), choose=memory.plastic(0.1)),
    "per head": memory.gene(memory.of_prototype(memory.turn), v.log_normal(v.absolute(0.1), per=v.per.unit)),
    "typed": memory.typed(evolve=0.1),
    "mixed": memory.mixed(heads=2),
}
POINTS, LABELS = np.linspace(-1, 1, 42).reshape(7, 6), np.array([0, 1, 2, 3, 2, 1, 0])
NETWORKS = {
    "mlp": nn.MLP((5, 4)),
    "wide": nn.MLP((4,), kernel_init=nn.notes_normal),
    "memory": HEADS,
    "projected": PROJECTED,
    "soft": memory.PrototypeMemory(4, heads=5, start="random", temperature=0.5, similarity="cosine"),
}
LOSSES = {
    name: getattr(tasks, name) for name in ("cross_entropy", "errors", "till_death", "till_death_shuffled", "sampled")
}
FITNESS = jnp.array([1.0, np.nan, 3.0, 2.0, -np.inf, np.inf], jnp.float32)
ENVIRONMENTS = {"cartpole": tasks.cartpole(20), "bandit": tasks.bandit(pulls=4)}


def child(name):
    params = HEADS.init(KEY, jnp.zeros((1, 6), jnp.float32))
    params = {**params, "none": jnp.zeros((0, 5), jnp.float32)}
    parent = Individual(params, GENES[name].init(params))
    made = GENES[name].apply(jax.random.key(1), parent, Context(jnp.int32(0), parent))
    assert made.params["none"].shape == (0, 5)
    return made._replace(params=dense(made.params))


def score(network, loss):
    task = tasks.labelled(NETWORKS[network], POINTS, LABELS, loss=LOSSES[loss])
    params = task.init(KEY)
    return params, as_fitness(task.evaluate(jax.random.key(1), params)), task.loss(jax.random.key(1), params)


def noise_score():
    network = nn.ConvNet(4, (3, 3), (3, 2), (1, 1), 8)
    task = tasks.memorization(network, points=6, shape=(8, 8, 2), classes=4, tiebreak=lambda _, x: x.sum())
    return as_fitness(task.evaluate(KEY, task.init(KEY)))


def played(name):
    environment = ENVIRONMENTS[name]
    task = tasks.control(environment, nn.MLP((environment.outputs,)), episodes=2, act=tasks.drawn)
    return as_fitness(task.evaluate(KEY, task.init(KEY))), tasks.statistics(environment, episodes=3, steps=5)


def chosen():
    return selection.roulette(KEY, Evaluation(FITNESS), 8)


CASES = {
    **{f"gene {name}": lambda name=name: child(name) for name in GENES},
    **{f"network {name}": lambda name=name: score(name, "cross_entropy") for name in NETWORKS},
    **{f"loss {name}": lambda name=name: (score("mlp", name), score("memory", name)) for name in LOSSES},
    "noise": noise_score,
    "roulette": chosen,
    **{f"play {name}": lambda name=name: played(name) for name in ENVIRONMENTS},
}
every = pytest.mark.parametrize(  # the default suite asks every fifth
    "case",
    [case if number % 5 == 0 else pytest.param(case, marks=pytest.mark.slow) for number, case in enumerate(CASES)],
)


@every
def test_the_same_numbers_in_double_precision(case):
    expected = jax.jit(CASES[case])()
    with jax.enable_x64(True):
        found = jax.jit(CASES[case])()
    chex.assert_trees_all_equal_shapes_and_dtypes(found, expected)
    chex.assert_trees_all_equal(found, expected)


@every
def test_nothing_is_nan_on_the_way(case):
    with jax.debug_nans(True):
        found = CASES[case]()
    chex.assert_tree_all_finite(jax.tree.map(jnp.asarray, found))
