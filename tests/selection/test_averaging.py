"""What an averaged parent inherits beside floats is that of the best child."""

import jax
import jax.numpy as jnp
import pytest

import jaxga
from jaxga import variation as v
from jaxga.base import Evaluation, Individual, Variation

KEY = jax.random.key(0)


def vector(key):
    return jax.random.normal(key, (3,), jnp.float32)


def init(params):
    del params
    return {"age": jnp.int32(0), "lot": jnp.int32(-1), "key": jax.random.key(7), "size": jnp.float32(1)}


def apply(key, parent, context):
    """A child is a generation older than its parent, and has a lot of its own."""
    del context
    lot = jax.random.randint(key, (), 0, 1_000_000, jnp.int32)
    strategy = {"age": parent.strategy["age"] + 1, "lot": lot, "key": key, "size": 2 * parent.strategy["size"]}
    return Individual(parent.params + jax.random.normal(key, (3,), jnp.float32), strategy)


COUNTER = Variation(init, apply)


def lots_of(algorithm, state):
    slots, members = jnp.divmod(jnp.arange(algorithm.children), algorithm.brood)
    return jax.vmap(lambda slot, member: algorithm.offspring(state, slot, member).strategy["lot"])(slots, members)


@pytest.mark.parametrize(
    ("parents", "children", "averaged"), [(2, 12, 3), pytest.param(1, 140, 130, marks=pytest.mark.slow)]
)
def test_after_so_many_generations_a_counter_is_as_high(parents, children, averaged):
    """130 children are three chunks, of which the last is not full."""
    recombination = v.average(averaged, v.by_rank)
    algorithm = jaxga.ga(vector, COUNTER, parents=parents, children=children, recombination=recombination)
    state, update = algorithm.init(KEY), jax.jit(algorithm.update)
    for generation in range(3):
        fitness = jax.random.normal(jax.random.key(generation), (children,), jnp.float32)
        lots = lots_of(algorithm, state)
        state, info = update(state, Evaluation(fitness))
        strategy, best = state.parents.strategy, info.recipe.indices[:, 0]
        assert best[0] == fitness.argmax()
        assert strategy["age"].tolist() == [generation + 1] * parents
        assert strategy["lot"].tolist() == lots[best].tolist()
        assert jnp.allclose(strategy["size"], 2.0 ** (generation + 1))


def test_a_parent_that_is_kept_as_the_best_gives_what_it_had_itself():
    recombination = v.average(2)
    algorithm = jaxga.ga(vector, COUNTER, parents=1, children=4, elites=1, reevaluate=True, recombination=recombination)
    state, _ = jax.jit(algorithm.update)(algorithm.init(KEY), Evaluation(jnp.arange(5.0)))
    state = state._replace(
        source=state.source._replace(
            parents=state.parents._replace(strategy={**state.parents.strategy, "age": jnp.array([41])})
        )
    )
    after, info = jax.jit(algorithm.update)(state, Evaluation(jnp.array([0.0, 0.0, 5.0, 0.0, 9.0])))
    assert info.recipe.indices.tolist() == [[4, 2]]
    assert after.parents.strategy["age"].tolist() == [41]
    assert after.parents.strategy["lot"].tolist() == state.parents.strategy["lot"].tolist()


def test_the_best_child_counts_where_it_has_no_weight():
    recombination = v.average(3, lambda fitness: jnp.array([0.0, 1.0, 1.0], fitness.dtype))
    algorithm = jaxga.ga(vector, COUNTER, parents=1, children=4, recombination=recombination)
    after, _ = jax.jit(algorithm.update)(algorithm.init(KEY), Evaluation(jnp.arange(4.0)))
    assert after.parents.strategy["age"].tolist() == [1]


def test_the_success_rule_knows_when_an_averaged_parent_was_born():
    change = v.gaussian(v.success_rule(v.absolute(0.1), up=1.5))
    algorithm = jaxga.ga(vector, change, parents=2, children=8, recombination=v.average(2))
    state, update = algorithm.init(KEY), jax.jit(algorithm.update)
    for generation in range(3):
        state, _ = update(state, Evaluation(jnp.arange(8.0)))
        assert state.parents.strategy["born"].tolist() == [generation] * 2
    # Every generation replaced its parents, so steps are 1.5 times as long each time: 1, 1.5, 1.5^2 so far.
    assert jnp.allclose(state.parents.strategy["step_size"], 1.5**2)
