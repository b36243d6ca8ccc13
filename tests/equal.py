"""When two runs are the same."""

import chex


def same(one, other):
    """Who was held, and the state in the end, bit for bit."""
    chex.assert_trees_all_equal(one.pedigree.recipes, other.pedigree.recipes)
    chex.assert_trees_all_equal(one.state, other.state)
