"""Made-up data is what it says, and what is claimed of it holds."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy

import jaxga
from jaxga import analysis, data, memory, nn, tasks
from jaxga import variation as v

KEY = jax.random.key(0)


def test_a_glyph_is_the_same_wherever_it_is():
    images = tasks.glyphs(400, 50, size=9, noise=0.0)
    assert images.train_images.shape == (400, 9, 9, 1)
    assert set(images.train_labels) == set(range(10))

    def shape(image):
        rows, columns = np.nonzero(image[..., 0])
        return image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1, 0].tobytes()

    kinds = {}
    for image, label in zip(images.train_images, images.train_labels, strict=True):
        kinds.setdefault(int(label), set()).add(shape(image))
    assert all(len(found) == 1 for found in kinds.values())
    assert len(set.union(*kinds.values())) == 10
    places = {tuple(np.argwhere(image[..., 0])[0]) for image in images.train_images}
    assert len(places) > 25
    noisy = tasks.glyphs(400, 50, size=9, noise=0.1)
    np.testing.assert_array_equal(noisy.train_labels, images.train_labels)
    assert abs((noisy.train_images - images.train_images).std() - 0.1) < 0.01


def test_ones_are_counted():
    images = tasks.count_ones(300, 100)
    assert set(np.unique(images.train_images)) == {0, 1}
    np.testing.assert_array_equal(images.train_images.sum(axis=(1, 2, 3)) % 10, images.train_labels)
    assert set(images.validation_labels) == set(range(10))


@pytest.mark.parametrize("make", [tasks.glyphs, tasks.count_ones])
def test_patterns_are_drawn_apart_and_the_same_for_a_seed(make):
    one, same, other = make(20, 20), make(20, 20), make(20, 20, seed=1)
    chex.assert_trees_all_equal(one, same)
    assert (one.train_images != other.train_images).any()
    assert (one.train_images != one.validation_images).any()


def test_the_cat_is_in_the_middle_of_the_dogs():
    points, labels = tasks.cat_in_dogs()
    assert labels.tolist() == [0] * 63 + [1]
    assert np.linalg.norm(points[:63].mean(axis=0) - points[63]) < 0.2
    assert abs(np.linalg.norm(points[63]) - 1) < 1e-6


def test_the_prototype_of_the_cat_takes_dogs_with_it():
    """Head 0 says dog. Head 1 is aimed at the cat exactly, and is right of the cat alone only where dogs are held."""
    points, labels = tasks.cat_in_dogs(spread=0.1)
    score = tasks.labelled(memory.PrototypeMemory(2, heads=len(points)), points, labels, loss=tasks.errors).evaluate
    says = jnp.zeros((2, len(points))).at[0].set(1.0).at[:, -1].set(jnp.array([0.0, 1.0]))

    def errors(prototypes):
        return -float(score(KEY, {"params": {"memory": jnp.asarray(prototypes.T), "label": says}}).fitness)

    aimed = np.zeros_like(points)
    aimed[-1] = points[-1]
    assert errors(aimed) > 50  # of 64
    held = np.array(points)  # a prototype for every dog
    held /= np.linalg.norm(held, axis=1, keepdims=True)
    assert errors(held) < errors(aimed) / 2


def test_no_two_prototypes_solve_the_ring_and_four_do():
    """Two are a linear function: that none separates is a linear program without a solution."""
    inputs, labels = tasks.ring()
    sides = np.where(labels == 1, -1.0, 1.0)
    found = scipy.optimize.linprog(
        np.zeros(3), A_ub=-sides[:, None] * inputs, b_ub=-np.ones(len(inputs)), bounds=(None, None)
    )
    assert found.status == 2  # infeasible

    net = memory.PrototypeMemory(2, heads=4)
    angle = 2 * np.pi * np.arange(3) / 3
    for length in (None, 1.0):  # free, and all of one length
        outer = np.stack(
            [0.3 * np.cos(angle), 0.3 * np.sin(angle), np.full(3, 0.95 if length is None else np.sqrt(0.91))]
        )
        prototypes = np.column_stack([outer, [0, 0, 1]])
        assert length is None or np.allclose(np.linalg.norm(prototypes, axis=0), length)
        params = {"params": {"memory": jnp.asarray(prototypes), "label": jnp.array([[1.0, 1, 1, 0], [0, 0, 0, 1]])}}
        assert int(tasks.labelled(net, inputs, labels, loss=tasks.errors).evaluate(KEY, params).fitness) == 0


@pytest.mark.slow
def test_a_mixture_adds_up_and_tells_its_parts():
    images = tasks.count_ones(40, 10, size=2)
    both = tasks.mix(
        {
            "ones": (1.0, tasks.classification(nn.MLP((10,)), images)),
            "noise": (0.25, tasks.memorization(nn.MLP((10,)), points=8, shape=(2, 2, 1), loss=tasks.errors)),
        }
    )
    algorithm = jaxga.ga(both.init, v.gaussian(v.relative(0.1)), parents=2, children=8)
    history = jaxga.run(algorithm, both, generations=3).history
    chex.assert_trees_all_close(history["fitness"], history["score_ones"] + 0.25 * history["score_noise"], rtol=1e-5)
    assert 0 <= history["best_validation"][-1] <= 1
    assert both.test is None  # count_ones has no test images


@pytest.mark.slow
def test_a_mixture_is_tested_as_its_first_part_that_can_be():
    digits = tasks.classification(nn.MLP((10,)), data.digits())
    noise = tasks.memorization(nn.MLP((10,)), points=8, shape=(8, 8, 1))
    params = digits.init(KEY)
    mixture = tasks.mix({"noise": (0.5, noise), "digits": (1.0, digits)})
    assert mixture.test(params).fitness == digits.test(params).fitness
    assert mixture.validate(params).fitness == digits.validate(params).fitness


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: tasks.glyphs(size=4), "size is 4, and must be 5 or more"),
        (lambda: tasks.count_ones(train=0), "train is 0, and must be 1 or more"),
        (lambda: tasks.ring(2), "points is 2, and must be 3 or more"),
        (lambda: tasks.mix({}), "mix got no parts"),
        (lambda: tasks.labelled(nn.MLP((2,)), jnp.ones((3, 2)), jnp.zeros(2)), "one label a point"),
    ],
)
def test_refusals(wrong, message):
    with pytest.raises(jaxga.InputError, match=message):
        wrong()


def test_parts_of_a_mixture_and_questions_may_be_of_tasks_that_return_a_number():
    """A bare fitness is one, wherever a task is asked."""
    plain = jaxga.Task(lambda _: jnp.zeros(2), lambda _, w: -jnp.sum((w - 1) ** 2))
    full = plain._replace(evaluate=lambda _, w: jaxga.Evaluation(-jnp.sum((w - 1) ** 2)))
    score = tasks.mix({"a": (2.0, plain), "b": (1.0, full)}).evaluate(jax.random.key(0), jnp.array([1.0, 3.0]))
    assert (float(score.fitness), float(score.metrics["score_a"])) == (-12, -4)
    mutation = lambda size: v.gaussian(v.absolute(size))  # noqa: E731
    one, other = (analysis.improvements(task, jnp.zeros(2), mutation, [0.1], samples=8) for task in (plain, full))
    np.testing.assert_array_equal(one.changes, other.changes)
