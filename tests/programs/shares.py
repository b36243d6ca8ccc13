"""Score children whole, in slices and on several devices, as users compile; prints where a bit differs.

Started by the tests: they compile without optimisation, which rounds alike wherever work is done.
"""

import json
import sys

import jax
import jax.numpy as jnp
import lifetimes
import networks
import numpy as np

import jaxga
from jaxga import nn, variation
from jaxga.base import Evaluation

DENSE = variation.gaussian(variation.multiplicative(variation.relative(0.2)))
FEW = networks.memorizing(nn.MLP((6, 10))), networks.STEPS, DENSE

# Tasks, mutations, and then parents, children and chunk.
CASES = {
    "few": [(FEW[0], DENSE, 2, 32, 4), (FEW[0], FEW[1], 4, 64, 1), (FEW[0], FEW[1], 2, 12, 8)],
    "many": [
        (networks.oracle()[0], DENSE, 4, 64, 1),
        (networks.oracle()[0], DENSE, 2, 12, 16),
        (networks.novel()[0], FEW[1], 3, 24, 4),
        (lifetimes.learning()[0], FEW[1], 1, 16, 8),
        (lifetimes.with_rates()[0], DENSE, 2, 12, 4),
        (lifetimes.going()[0], FEW[1], 8, 8, 4),
        (lifetimes.going()[0], FEW[1], 1, 6, 2),
        (lifetimes.rewarded()[0], FEW[1], 2, 8, 2),
    ],
}


def differing(task: jaxga.Task, mutation: jaxga.Variation, parents: int, children: int, chunk: int) -> dict[str, int]:
    """How many scores of three generations are not those of one device, by who scored them."""
    algorithm = jaxga.ga(task.init, mutation, parents=parents, children=children)
    evaluator = jaxga.vmapped(algorithm, task, chunk)
    whole = jax.jit(evaluator.children)
    ways = {f"{count} devices": jax.jit(jaxga.sharded(evaluator, count).children) for count in (2, 3)}
    for slices in {evaluator.slices(2), evaluator.slices(children)}:
        ways[f"{slices} slices"] = in_slices(evaluator, slices)
    found = dict.fromkeys(ways, 0)
    source, draws = algorithm.init(jax.random.key(0)), np.random.default_rng(0)
    for _ in range(3):
        one = np.asarray(whole(source).fitness)
        for name, score in ways.items():
            found[name] += int((np.asarray(score(source).fitness) != one).sum())
        drawn = jnp.asarray(draws.normal(size=children), jnp.float32)  # not their own: they would soon be alike
        source = algorithm.update(source, Evaluation(drawn, jnp.zeros(children, jnp.float32)))[0]
    return found


def in_slices(evaluator: jaxga.Vmapped, slices: int):
    """One after another, as workers score them."""
    score = jax.jit(lambda source, number: evaluator.children(source, number, slices))

    def all_of_them(source):
        parts = [score(source, jnp.int32(number)) for number in range(slices)]
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)

    return all_of_them


if __name__ == "__main__":
    print(json.dumps([differing(*case) for case in CASES[sys.argv[1]]]))
