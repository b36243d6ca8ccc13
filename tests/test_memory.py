"""Prototype memories: what a head does, what a gene may touch, and that shortcuts for broods change nothing."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import analysis, memory, tasks
from jaxga import variation as v
from jaxga.base import Context, Individual
from jaxga.interpret import by_parts
from jaxga.lowrank import Columns, LowRank, dense, read_columns, select_leaf, write_columns

KEY = jax.random.key(0)
POINTS, DIMENSION, HEADS, CLASSES = 12, 6, 5, 4
X = jax.random.normal(jax.random.key(7), (POINTS, DIMENSION))
CHANGES = {"walk": memory.walk, "replace": memory.replace, "turn": memory.turn, "erase": memory.erase}


def network(**options):
    return memory.PrototypeMemory(CLASSES, heads=HEADS, **options)


STARTS = {kind: network(start=kind).init(KEY, X) for kind in ("zeros", "random")}


def start(kind="random"):
    return STARTS[kind]


def mutated(change, seed=0, params=None):
    parent = start() if params is None else params
    parent = Individual(parent, change.init(parent))
    return change.apply(jax.random.key(seed), parent, Context(jnp.int32(0), parent))


def children(change, number, params=None):
    """Dense params ``[number, ...]`` of children of one parent."""
    make = lambda seed: dense(mutated(change, seed, params).params)  # noqa: E731
    return jax.jit(jax.vmap(make))(jnp.arange(number))


def head(params):
    return params["params"]["memory"], params["params"]["label"]


def touched(many, before=None):
    """Bool ``[n, H]`` each: which heads have another prototype than before, and which another label."""
    before = start() if before is None else before
    pairs = zip(head(many), head(before), strict=True)
    return [(np.asarray(new) != np.asarray(old)).any(axis=1) for new, old in pairs]


def plainly(params, cosine=False):
    """What numpy makes of the definition."""
    prototypes, labels = map(np.asarray, head(params))
    points = np.asarray(X)
    if cosine:
        prototypes = prototypes / np.maximum(np.linalg.norm(prototypes, axis=0), 1e-30)
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    return points @ prototypes, labels


def test_columns_are_their_dense_matrix():
    base = jax.random.normal(KEY, (3, 6))
    leaf = Columns(base, jnp.array([4, 1, 4]), jnp.arange(9.0).reshape(3, 3))
    expected = np.array(base)
    expected[:, 4], expected[:, 1] = [2, 5, 8], [1, 4, 7]
    chex.assert_trees_all_equal(leaf.dense(), expected)
    chex.assert_trees_all_close(leaf.low_rank().dense(), expected, atol=1e-6)
    assert (leaf.shape, leaf.ndim, leaf.dtype) == ((3, 6), 2, jnp.float32)
    chex.assert_trees_all_equal(read_columns(leaf, jnp.array([[0, 4], [1, 5]])), expected[:, [[0, 4], [1, 5]]])
    further = write_columns(leaf, jnp.array([1]), jnp.zeros((3, 1)))
    assert further.base is base
    chex.assert_trees_all_equal(further.dense()[:, 1], jnp.zeros(3))


@pytest.mark.parametrize("chosen", [False, True])
def test_selecting_keeps_columns_where_the_base_is_shared(chosen):
    base = jax.random.normal(KEY, (3, 6))
    one, other = (Columns(base, jnp.array([place]), jnp.full((3, 1), value)) for place, value in ((4, 1.0), (2, 3.0)))
    for new, old in ((one, other), (one, base), (base, other)):
        found = select_leaf(jnp.bool_(chosen), new, old)
        assert isinstance(found, Columns)
        chex.assert_trees_all_equal(dense(found), dense(new if chosen else old))
    low_rank = LowRank(base, jnp.ones((1, 3, 1)), jnp.ones((1, 1, 6)))
    chex.assert_trees_all_equal(
        select_leaf(jnp.bool_(chosen), low_rank, one), low_rank.dense() if chosen else one.dense()
    )


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_the_nearest_head_gives_its_label(similarity):
    found = network(similarity=similarity).apply(start(), X, method="look")
    similar, labels = plainly(start(), similarity == "cosine")
    assert found.winner.tolist() == similar.argmax(axis=1).tolist()
    chex.assert_trees_all_close(found.closeness, similar.max(axis=1), atol=1e-5)
    chex.assert_trees_all_equal(found.logits, labels.T[similar.argmax(axis=1)])


def test_with_a_temperature_all_heads_speak():
    similar, labels = plainly(start())
    weights = np.exp(similar / 0.5)
    expected = weights / weights.sum(axis=1, keepdims=True) @ labels.T
    chex.assert_trees_all_close(network(temperature=0.5).apply(start(), X), expected, atol=1e-5)


def test_points_may_be_projected_and_keep_their_length():
    wide = jax.random.normal(KEY, (50, 8, 8, 3))
    net = network(dimension=64)
    params = net.init(KEY, wide)
    assert params["params"]["memory"].shape == (64, HEADS)
    seen = wide.reshape(50, -1) @ memory.projection(192, 64)
    assert abs(float(jnp.std(seen)) - 1) < 0.05
    chex.assert_trees_all_equal(net.apply(params, wide), net.apply(params, wide))


GENES = {name: memory.gene(change) for name, change in CHANGES.items()} | {
    "two heads": memory.gene(memory.walk, heads=2),
    "as many as there are": memory.gene(memory.replace, heads=HEADS),
    "one after another": v.chain(memory.gene(memory.walk), memory.gene(memory.turn), memory.gene(memory.erase)),
    "labels alone": memory.gene(memory.of_label(memory.replace)),
    "prototypes alone": memory.gene(memory.of_prototype(memory.replace), heads=2),
    "typed": memory.typed(),
    "mixed": memory.mixed(),
}


QUICK = {"two heads", "one after another", "typed", "mixed"}


@pytest.mark.parametrize(
    ("name", "similarity"),
    [pytest.param(name, "dot", marks=[] if name in QUICK else [pytest.mark.slow]) for name in GENES]
    + [("walk", "cosine")],
)
def test_a_child_that_shares_with_its_parent_sees_what_the_dense_one_sees(name, similarity):
    """Ties among them: a memory of zeros is nothing else."""
    net = network(similarity=similarity)

    def both(parent, key):
        individual = Individual(parent, GENES[name].init(parent))
        child = GENES[name].apply(key, individual, Context(jnp.int32(0), individual)).params
        assert any(isinstance(leaf, Columns) for leaf in head(child))
        look = lambda params: net.apply(params, X, method="look")  # noqa: E731
        classify = lambda params: net.apply(params, X, method="classify")  # noqa: E731
        return by_parts(look)(child), look(dense(child)), by_parts(classify)(child)

    brood = jax.jit(jax.vmap(both, in_axes=(None, 0)))
    for begin in ("zeros", "random"):
        shared, alone, classes = brood(start(begin), jax.random.split(KEY, 40))
        assert (classes == shared.logits.argmax(axis=-1)).all()
        chex.assert_trees_all_equal(shared.winner, alone.winner)
        chex.assert_trees_all_equal(shared.logits, alone.logits)
        chex.assert_trees_all_close(shared.closeness, alone.closeness, atol=1e-5)


@pytest.mark.parametrize("name", list(CHANGES))
def test_a_gene_changes_one_head_and_no_other(name):
    prototypes, labels = touched(children(memory.gene(CHANGES[name]), 20))
    assert (prototypes == labels).all()
    assert (prototypes.sum(axis=1) == 1).all()


def test_of_masked_genes_only_the_one_half_changes():
    prototypes, labels = touched(children(GENES["labels alone"], 5))
    assert (prototypes.sum(), labels.sum()) == (0, 5)
    prototypes, labels = touched(children(GENES["prototypes alone"], 5))
    assert prototypes.any()
    assert not labels.any()


def test_a_gene_of_several_changes_makes_each_as_often_as_it_weighs():
    made = children(memory.gene([(1, memory.erase), (3, memory.of_label(memory.replace))], heads=2), 1000)
    prototypes, labels = touched(made)
    assert set(labels.sum(axis=1).tolist()) == {1, 2}  # heads, of which one may be drawn twice
    assert not (prototypes & ~labels).any()
    assert abs(prototypes.sum() / labels.sum() - 0.25) < 0.03
    both = labels.sum(axis=1) == 2
    assert 0.3 < (prototypes[both].sum(axis=1) == 1).mean() < 0.45  # each head for itself: 2 * 1/4 * 3/4


def test_all_heads_at_once():
    assert np.all(touched(children(memory.gene(memory.walk, heads=None), 1)))


def lengths(change, generations=60):
    def step(params, seed):
        return dense(mutated(change, seed, params).params), None

    params, _ = jax.jit(partial(jax.lax.scan, step))(start(), jnp.arange(generations))
    return np.linalg.norm(head(params)[0], axis=0)


def test_what_becomes_of_the_length_of_prototypes():
    np.testing.assert_allclose(lengths(memory.gene(memory.turn)), 1, rtol=1e-5)
    np.testing.assert_allclose(lengths(memory.gene(memory.replace)), 1, rtol=1e-5)
    assert lengths(memory.gene(memory.walk)).min() > 2
    assert lengths(memory.gene(memory.erase)).max() == 0


def test_a_step_size_of_mixed_genes_is_that_of_turns():
    np.testing.assert_allclose(lengths(memory.mixed(step_size=v.absolute(5.0))), 1, rtol=1e-5)


def test_numbers_of_mixed_genes_are_drawn_once():
    """And not for every kind: they are the greater part of what a child costs."""
    parent = Individual(start(), memory.mixed().init(start()))

    def make(key):
        return memory.mixed().apply(key, parent, Context(jnp.int32(0), parent))

    assert str(jax.make_jaxpr(make)(KEY)).count("erf_inv") == 1


def test_step_sizes_are_those_of_the_head():
    sizes = v.fixed(lambda params: jax.tree.map(lambda _: jnp.arange(float(HEADS)), params))
    moved = touched(children(memory.gene(memory.walk, sizes), 40))[0].any(axis=0)
    assert moved.tolist() == [False, True, True, True, True]  # that of head 0 is 0

    one = memory.gene(memory.walk, v.log_normal(v.absolute(1.0), 0.5, per=v.per.unit))
    sizes = head(mutated(one).strategy["step"]["step_size"])
    assert sizes[0].shape == (HEADS,)
    chex.assert_trees_all_equal(*sizes)  # a prototype and its label share it
    assert len(set(sizes[0].tolist())) == HEADS

    every = memory.gene(memory.walk, v.log_normal(v.absolute(1.0), 0.5, per=v.per.parameter))
    assert touched(children(every, 3))[0].sum() == 3


def half_free():
    return jax.tree.map(lambda leaf: leaf.at[:, jnp.array([1, 3])].set(0), start())


@pytest.mark.parametrize(
    ("choose", "allowed"), [(memory.free_head, {1, 3}), (memory.used_head, {0, 2, 4}), (memory.any_head, set(range(5)))]
)
def test_which_head_is_chosen(choose, allowed):
    change = memory.gene(memory.replace, choose=choose)
    found = touched(children(change, 60, half_free()), half_free())[0].sum(axis=0)
    assert set(np.flatnonzero(found).tolist()) == allowed
    assert found.sum() == 60
    assert found.max() < 3 * found[found > 0].min()  # about as often
    none = start("random" if choose is memory.free_head else "zeros")
    assert touched(children(change, 1, none), none)[0].sum() == 1


def test_plasticity_is_inherited_and_says_who_changes():
    change = memory.gene(memory.replace, choose=memory.plastic(0.1))
    parent = Individual(start(), change.init(start()))
    parent.strategy["choice"]["plasticity"] = jnp.array([0.0, 20.0, 0.0, 0.0, 0.0])
    child = change.apply(KEY, parent, Context(jnp.int32(0), parent))
    assert touched(jax.tree.map(lambda leaf: leaf[None], dense(child.params)))[0].tolist() == [[0, 1, 0, 0, 0]]
    step = child.strategy["choice"]["plasticity"] - parent.strategy["choice"]["plasticity"]
    assert 0 < float(jnp.abs(step).max()) < 0.5


def test_typed_genes_keep_their_frequencies():
    made = children(memory.typed(), 1000, half_free())
    where = touched(made, half_free())[0]
    assert (where.sum(axis=1) == 1).all()
    place = where.argmax(axis=1)
    erased = ~np.asarray(memory_of := head(made)[0])[np.arange(1000), :, place].any(axis=1)
    assert memory_of.shape == (1000, DIMENSION, HEADS)
    shares = {"add": np.isin(place, [1, 3]).mean(), "delete": erased.mean()}
    assert abs(shares["add"] - 0.4) < 0.05
    assert abs(shares["delete"] - 0.3) < 0.05


def test_frequencies_evolve_away_from_a_type_that_is_of_no_use():
    """One part of three is lethal: who inherits its frequency dies of it."""
    lethal = v.stateless(lambda _, params: jax.tree.map(lambda leaf: leaf * 0 + 9, params))
    parts = {"good": (1, v.gaussian(v.absolute(0.1))), "lethal": (2, lethal)}
    algorithm = jaxga.ga(lambda _: jnp.zeros(3), v.mixture(parts, evolve=0.3), parents=4, children=32)
    task = jaxga.Task(lambda _: jnp.zeros(3), lambda _, w: jaxga.Evaluation(-jnp.sum((w - 1) ** 2)))
    history = jaxga.run(algorithm, task, generations=80).history
    good, bad = history["frequency/good"], history["frequency/lethal"]
    np.testing.assert_allclose(good + bad, 1, atol=1e-5)
    assert abs(good[0] - 1 / 3) < 0.1
    assert good[-1] > 0.7


@pytest.mark.parametrize("loss", [tasks.errors, tasks.till_death, tasks.till_death_shuffled])
@pytest.mark.parametrize("temperature", [None, pytest.param(0.5, marks=pytest.mark.slow)])
def test_who_is_right_is_known_without_logits(loss, temperature):
    net = network(temperature=temperature)
    task = tasks.memorization(net, points=POINTS, shape=(DIMENSION,), classes=CLASSES, loss=loss)
    points, labels = tasks.noise(POINTS, (DIMENSION,), CLASSES)
    params = memory.PrototypeMemory(CLASSES, heads=HEADS, start="random").init(jax.random.key(3), points)
    found = task.evaluate(KEY, params)
    assert found.fitness == loss(KEY, net.apply(params, points), labels)
    assert found.metrics["points"] == tasks.right(net.apply(params, points), labels).sum()
    nothing = jax.tree.map(lambda leaf: leaf * jnp.nan, params)
    assert jnp.isnan(task.evaluate(KEY, nothing).fitness)


def test_parents_are_the_children_that_were_scored():
    task = tasks.memorization(network(), points=POINTS, shape=(DIMENSION,), classes=CLASSES, loss=tasks.errors)
    algorithm = jaxga.ga(task.init, memory.typed(), parents=4, children=32)
    state = jaxga.run(algorithm, task, generations=25).state
    again = jax.jit(jax.vmap(lambda params: task.evaluate(KEY, params).fitness))(state.parents.params)
    chex.assert_trees_all_equal(again, state.fitness)


def test_usage_norm_and_rate_of_every_head():
    prototypes, labels = (
        jnp.eye(DIMENSION)[:, :HEADS] * jnp.array([1.0, 2.0, 0.0, 1.0, 1.0]),
        jnp.zeros((CLASSES, HEADS)),
    )
    params = {"params": {"memory": prototypes, "label": labels}}
    change = memory.gene(memory.walk, v.log_normal(v.absolute(0.5), 1.0, per=v.per.unit))
    found = memory.statistics(network(), Individual(params, change.init(params)), jnp.eye(DIMENSION)[:2])
    assert {name: row.tolist() for name, row in found.items()} == {
        "usage": [1, 1, 0, 0, 0], "norm": [1, 2, 0, 1, 1], "rate": [0.5] * 5,
    }  # fmt: skip


@pytest.fixture(scope="module")
def solved():
    """A run that knows three of four skills in the end, and each is a weight that must be above 0."""
    task = jaxga.Task(lambda _: -jnp.ones(4), lambda _, w: jaxga.Evaluation(jnp.sum(w[:3] > 0).astype(jnp.float32)))
    algorithm = jaxga.ga(task.init, v.gaussian(v.absolute(1.0)), parents=2, children=16)
    return algorithm, jaxga.run(algorithm, task, generations=12)


@pytest.mark.slow
def test_a_trace_is_what_the_run_was(solved):
    algorithm, result = solved
    seen = analysis.trace(algorithm, result.pedigree, lambda state: state.parents.params, every=3)
    assert seen.generations.tolist() == [3, 6, 9, 12]
    for generation, values in zip(seen.generations, seen.values, strict=True):
        state = jaxga.pedigree.replay(algorithm, result.pedigree, int(generation))
        chex.assert_trees_all_equal(values, state.parents.params)
    with pytest.raises(jaxga.InputError, match="every is 13, and the run has 12 generations"):
        analysis.trace(algorithm, result.pedigree, lambda state: state.generation, every=13)


def test_interference_counts_what_children_lose(solved, tmp_path):
    """By hand, of the last generation."""
    algorithm, result = solved
    found = analysis.interference(algorithm, result.pedigree, lambda w: w > 0, every=4, samples=5)
    assert found.generations.tolist() == [4, 8, 12]
    state, child = result.state, jax.jit(algorithm.offspring)
    for slot in range(2):
        before = np.asarray(state.parents.params[slot] > 0)
        after = np.stack([child(state, slot, member).params > 0 for member in range(5)])
        lost, won = before & ~after, after & ~before
        assert found.known[-1, slot] == before.sum()
        np.testing.assert_allclose(found.forgot[-1, slot], lost.sum(axis=1).mean() / before.sum(), rtol=1e-6)
        np.testing.assert_allclose(found.harmed[-1, slot], lost.any(axis=1).mean(), rtol=1e-6)
        np.testing.assert_allclose(found.learned[-1, slot], won.any(axis=1).mean(), rtol=1e-6)
        np.testing.assert_allclose(found.spared[-1, slot], (won.any(axis=1) & ~lost.any(axis=1)).mean(), rtol=1e-6)
    found.plot(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 10_000


@pytest.mark.slow
def test_till_death_is_solved():
    net = memory.PrototypeMemory(4, heads=16)
    task = tasks.memorization(net, points=12, shape=(16,), classes=4, loss=tasks.till_death)
    algorithm = jaxga.ga(task.init, memory.typed(), parents=4, children=64)
    result = jaxga.run(algorithm, task, generations=300, stop=jaxga.stop.target(12))
    assert result.stopped_because.startswith("target reached")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: network(similarity="angle").init(KEY, X), "similarity is 'angle': take 'dot' or 'cosine'"),
        (lambda: network(start="ones").init(KEY, X), "start is 'ones', and must be 'zeros' or 'random'"),
        (lambda: memory.gene(memory.walk, heads=0), "heads is 0, and must be 1 or more"),
        (lambda: memory.plastic(-1.0), "tau is -1.0, and must be 0 or more"),
        (lambda: memory.gene([]), "gene got no change of any weight"),
        (lambda: memory.mixed(0, 0, 0), "gene got no change of any weight"),
        (lambda: memory.gene([(-1, memory.walk)]), "weight is -1, and must be 0 or more"),
        (lambda: v.mixture({}), "mixture got no parts"),
        (
            partial(mutated, memory.gene(memory.walk), params={"kernel": jnp.ones((2, 2))}),
            r"for a network with one PrototypeMemory, and this one has the leaves \['kernel'\]",
        ),
    ],
)
def test_refusals(wrong, message):
    with pytest.raises(jaxga.InputError, match=message):
        wrong()


def memorizing(change):
    task = tasks.memorization(network(), points=POINTS, shape=(DIMENSION,), classes=CLASSES, loss=tasks.errors)
    algorithm = jaxga.ga(task.init, change, parents=2, children=16, elites=1)
    return algorithm, jaxga.run(algorithm, task, generations=40)


def test_dead_genes_can_be_left_out_of_what_is_replaced():
    algorithm, result = memorizing(memory.gene(memory.replace))
    genome = analysis.prune(algorithm, result.pedigree)
    assert 1 <= len(genome.genes) <= HEADS
    assert genome.dead > 0
    chex.assert_trees_all_equal(
        jaxga.genome.decode(algorithm, genome).params, jax.tree.map(lambda p: p[0], result.state.parents.params)
    )


@pytest.mark.parametrize(
    "change", [pytest.param(v.gaussian(v.absolute(0.3)), marks=pytest.mark.slow), memory.gene(memory.walk)]
)
def test_genes_that_build_on_one_another_are_not_pruned(change):
    algorithm, result = memorizing(change)
    with pytest.raises(jaxga.InputError, match="what is left makes another individual"):
        analysis.prune(algorithm, result.pedigree)
