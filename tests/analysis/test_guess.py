"""Guess and check, where the answer can be counted: a line through the origin of the plane."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxga
from jaxga import analysis


def at(*degrees):
    """Points on the circle, all of them of class 0."""
    angle = np.deg2rad(degrees)
    return jnp.asarray(np.stack([np.cos(angle), np.sin(angle)], axis=1), jnp.float32), np.zeros(len(degrees), int)


def init(key):
    return jax.random.normal(key, (2,))


def forward(w, x):
    return jnp.stack([x @ w, -(x @ w)], axis=1)


# The weights of a network that is right about a point lie within 90 degrees of it: for 0 and 60 degrees, in a third of
# the circle, for 210 degrees beside them, nowhere. One of the first two is right in two sectors of 60 degrees, and in
# half of each of these the point at 30 degrees is right.
TRAIN, TEST = at(0, 60, 210), at(30)


def test_chances_and_test_accuracy_are_those_of_sectors_of_the_circle():
    found = analysis.guess(init, forward, TRAIN, TEST, points=(1, 2, 3), draws=20_000, keep=2000)
    assert [count.sum() for count in found.counts] == [20_000] * 3
    for (estimate, low, high), due in zip(found.chance(0.9999), (1 / 2, 1 / 3, 0), strict=True):
        assert low <= due <= high
        assert abs(estimate - due) < 0.015
    assert found.chance()[2, 2] < 2e-4  # nobody of 20,000 fits
    np.testing.assert_allclose(found.counts[1] / 20_000, [1 / 3, 1 / 3, 1 / 3], atol=0.015)
    nobody, one, both = found.accuracy()[1]
    assert (nobody, both) == (0, 1)
    assert abs(one - 0.5) < 0.05
    assert [len(some) for some in found.tested[1]] == [2000] * 3
    assert np.isnan(found.accuracy()[2]).tolist() == [True, False, False, True]  # nor is anybody wrong about all


def test_the_chunk_makes_no_difference(tmp_path):
    one, *others = (
        analysis.guess(init, forward, TRAIN, TEST, points=(1, 2), draws=1000, keep=20, chunk=chunk, key=1)
        for chunk in (1000, 64, 333)
    )
    for other in others:
        assert all(np.array_equal(a, b) for a, b in zip(one.counts, other.counts, strict=True))
        assert all(np.array_equal(a, b) for p, q in zip(one.tested, other.tested, strict=True)
                   for a, b in zip(p, q, strict=True))  # fmt: skip
    another = analysis.guess(init, forward, TRAIN, TEST, points=(1, 2), draws=1000, key=2)
    assert not np.array_equal(one.counts[1], another.counts[1])
    one.plot(tmp_path / "guess.png")


def test_descent_stops_when_it_fits():
    options = {"points": (2, 3), "seeds": 50, "steps": 200}
    found = analysis.descend_until_fit(init, forward, TRAIN, TEST, optax.sgd(0.5), **options)
    assert found.fitted.sum(axis=1).tolist() == [50, 0]  # no line is right about all three
    assert (found.accuracy[0] == 1).all()
    starts = jax.vmap(init)(jax.random.split(jaxga.tree.path_key(jax.random.key(0), ("descend",)), 50))
    fits = (starts @ TRAIN[0][:2].T > 0).all(axis=1)
    np.testing.assert_array_equal(found.steps[0] == 0, fits)
    assert (found.steps[1] == 200).all()
    further = analysis.descend_until_fit(init, forward, TRAIN, TEST, optax.sgd(0.5), beyond=20, **options)
    np.testing.assert_array_equal(further.steps, found.steps)
    assert further.fitted.sum(axis=1).tolist() == [50, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": (4,)}, "points has 4, and there are 3 training points"),
        ({"points": ()}, "points is empty"),
        ({"draws": 0}, "draws is 0"),
        ({"draws": 2**31}, "networks are numbered in 32 bits"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    with pytest.raises(jaxga.InputError, match=message):
        analysis.guess(init, forward, TRAIN, TEST, **options)
