"""Tasks and games of genes: decoded once, low-rank or not, and all that a run promises."""

import chex
import genotypes
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from equal import same
from genotypes import ENCODINGS

import jaxga
from jaxga import baselines, encoding, nn, pedigree, tasks, variation
from jaxga.lowrank import dense

KEY = jax.random.key(0)


def test_every_part_of_a_task_decodes_first():
    decode = lambda gene: jnp.full(3, gene)  # noqa: E731
    plain = jaxga.Task(
        lambda key: jnp.zeros(3), lambda key, w: jaxga.Evaluation(w.sum()), loss=lambda key, w: (w**2).sum(),
        validate=lambda w: jaxga.Evaluation(w[0]), test=lambda w: jaxga.Evaluation(w[1]), chunk=128,
    )  # fmt: skip
    task = encoding.encoded(plain, decode, lambda key: jnp.ones(()))
    gene = jnp.float32(2)
    assert [float(part(gene).fitness) for part in (lambda g: task.score(KEY, g), task.validate, task.test)] == [6, 2, 2]
    assert float(jax.grad(task.loss, argnums=1)(KEY, gene)) == 12
    assert task.chunk is None
    params, _ = baselines.gradient_descent(task, optax.sgd(0.1), 20)
    assert abs(float(params)) < 1e-3
    for against in (jaxga.paired(task), encoding.encoded(jaxga.paired(plain), decode, task.init)):
        assert float(against.score(jaxga.Trial(KEY, parent=jnp.float32(1)), gene).fitness) == 3
        assert float(against.score(jaxga.Trial(KEY), gene).fitness) == 6


@pytest.mark.parametrize("name", ENCODINGS)
def test_low_rank_genes_are_as_good_as_dense_ones(name):
    task = genotypes.plain()
    task = encoding.encoded(task, ENCODINGS[name](task.init))
    algorithm = jaxga.ga(task.init, variation.low_rank(variation.relative(0.5)), parents=2, children=8)
    source = jax.jit(algorithm.init)(KEY).source
    found = jax.jit(jaxga.vmapped(algorithm, task, 4))(source)
    child = jax.jit(lambda pair, member: dense(algorithm.offspring(source, pair, member).params))
    genes = [child(pair, member) for pair in range(2) for member in range(4)]
    score = jax.jit(lambda genes: task.score(KEY, genes).fitness)  # on all points, whatever the key
    due = [score(each) for each in genes]
    np.testing.assert_allclose(found.fitness, due, rtol=1e-4)
    assert len(set(np.asarray(found.fitness).tolist())) > 1


def test_an_episode_on_the_device_decodes_once():
    cartpole = tasks.cartpole()
    plain = tasks.control(cartpole, nn.MLP((2,)), max_steps=20)
    calls = []

    def decode(genes):
        jax.debug.callback(lambda _: calls.append(1), genes["params"]["Dense_0"]["bias"])
        return genes

    task = encoding.encoded(plain, decode, plain.init)
    params = jax.jit(task.init)(KEY)
    jax.block_until_ready(jax.jit(task.evaluate)(KEY, params))
    jax.effects_barrier()
    assert len(calls) == 1


@pytest.mark.parametrize("low_rank", [True, False])
def test_a_game_decodes_an_individual_once_and_plays_what_it_decoded(low_rank):
    """Low-rank children in broods, dense ones one by one; steps are 20 times as many."""
    game, calls = genotypes.pole(), []

    def counted(genes):
        jax.debug.callback(lambda _: calls.append(1), genes["bias"])
        return game.decode(genes)

    noise = variation.low_rank if low_rank else variation.gaussian
    algorithm = jaxga.ga(game.init, noise(variation.absolute(0.5)), parents=2, children=8)
    source = jax.jit(algorithm.init)(KEY).source
    plays = jaxga.rollouts(algorithm, game._replace(decode=counted), episodes=2, envs=16, threads=1)
    assert (plays.programs.rows > 1) is low_rank
    found = plays(source)
    jax.effects_barrier()
    assert len(calls) == 8
    assert int(found.metrics[jaxga.PLAYED]) > 80
    alone = plays.individuals(source, np.arange(8))
    np.testing.assert_array_equal(alone.fitness, found.fitness)
    assert len(set(np.asarray(found.fitness).tolist())) > 1


def test_a_game_that_is_encoded_is_the_game_itself():
    """Genes that are weights: the same scores; and a champion is played as it was decoded."""
    game = tasks.envpool_game("CartPole-v1", nn.MLP((2,)), max_steps=40)
    halved = encoding.encoded(game, lambda genes: jax.tree.map(lambda leaf: leaf / 2, genes), game.init)
    twice = encoding.encoded(halved, lambda genes: jax.tree.map(lambda leaf: leaf * 2, genes), game.init)
    algorithm = jaxga.ga(game.init, variation.gaussian(variation.absolute(1.0)), parents=2, children=4)
    source = jax.jit(algorithm.init)(KEY).source
    one, other = (jaxga.rollouts(algorithm, each, envs=4, threads=1) for each in (game, twice))
    np.testing.assert_array_equal(one(source).fitness, other(source).fitness)
    params = algorithm.offspring(source, 0, 0).params
    ends = [plays.test(params, KEY, 3).fitness for plays in (one, other)]
    np.testing.assert_array_equal(*ends)


def test_an_encoded_game_is_resumed_and_replayed(tmp_path):
    def go(generations, directory=None, envs=4):
        plays = genotypes.players()
        scored = jaxga.validated(jaxga.rollouts(plays.algorithm, plays.game, envs=envs, threads=1), 3, 2)
        return plays.algorithm, jaxga.run(plays.algorithm, scored, 0, generations=generations, directory=directory)

    algorithm, whole = go(3)
    go(1, tmp_path)
    _, resumed = go(3, tmp_path, envs=7)
    same(whole, resumed)
    loaded = pedigree.load(pedigree.save(whole.pedigree, tmp_path / "pedigree.npz"))
    chex.assert_trees_all_equal(pedigree.replay(algorithm, loaded), whole.state.source)
