"""What a generation costs, as compiled: operations and memory of the works of benchmarks/speed.py. A guard, no timer.

XLA counts a loop once, so these are the operations of one block and one chunk of children, and of what is done once a
generation. If you have to change a figure, you have changed the speed: measure it, and say why.
"""

import dataclasses

import pytest

from benchmarks.speed import SIGMA, WORKS, program
from jaxga import variation as v
from jaxga.algorithm import shape_of_state
from jaxga.compilation import prepare


def cost(work, mutation):
    algorithm, sharded = program(work, mutation(v.relative(SIGMA)))
    state = shape_of_state(algorithm)
    found = prepare(lambda state: algorithm.update(state, sharded.evaluator(state.source))[0], (state,))
    flops = found.compiled.cost_analysis()["flops"]
    return flops / 1e6, found.memory.working / 1e6


@pytest.mark.parametrize(
    ("name", "mutation", "operations", "megabytes"),
    [
        ("a", v.low_rank, 9.63, 1.16),
        ("b", v.low_rank, 132, 4.56),
        ("c", v.low_rank, 106, 8.26),
        ("d", v.low_rank, 1025, 24.5),
        ("e", v.low_rank, 66.3, 1.01),
        ("b", v.gaussian, 891, 6.85),
    ],
    ids=["a", "b", "c", "d", "e", "b Gaussian"],
)
def test_a_generation_costs_no_more(name, mutation, operations, megabytes):
    """(c) with fewer images, which it meets in blocks all the same."""
    work = WORKS[name]
    found = cost(dataclasses.replace(work, examples=min(work.examples, 2000)), mutation)
    assert found[0] == pytest.approx(operations, rel=0.1)
    assert found[1] <= 1.1 * megabytes
