"""Fitness on images against numpy, batches and blocks, validation, pairing, and what is refused."""

import importlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import compilation, data, nn, tasks
from jaxga import variation as v

module = importlib.import_module("jaxga.tasks.classification")  # its name is a function too

KEY = jax.random.key(0)
NETWORK = nn.MLP((6, 10))


@pytest.fixture(scope="module")
def digits():
    return data.digits()


@pytest.fixture(scope="module")
def params(digits):
    return tasks.classification(NETWORK, digits).init(KEY)


def logits_of(params, pixels):
    """The same network in numpy."""
    layers = params["params"]
    hidden = np.maximum(pixels.reshape(len(pixels), -1) @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"], 0)
    return hidden @ layers["Dense_1"]["kernel"] + layers["Dense_1"]["bias"]


def log_likelihood(logits, labels):
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits[np.arange(len(labels)), labels] - np.log(np.exp(logits).sum(axis=1))


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("block", [pytest.param(100, marks=pytest.mark.slow), 719, 1438, 5000])
def test_fitness_of_all_images_is_that_of_numpy_in_any_blocks(digits, params, normalise, block, monkeypatch):
    monkeypatch.setattr(module, "WHOLE", block)
    monkeypatch.setattr(module, "BLOCK", block)
    pixels = digits.train_images
    if normalise:
        pixels = (pixels - pixels.mean()) / pixels.std()
    logits = logits_of(params, pixels)
    expected = {
        tasks.cross_entropy: log_likelihood(logits, digits.train_labels).mean(),
        tasks.errors: -(logits.argmax(axis=1) != digits.train_labels).mean(),
    }
    for loss, value in expected.items():
        task = tasks.classification(NETWORK, digits, loss=loss, normalise=normalise)
        assert abs(float(task.evaluate(KEY, params).fitness) - value) < 1e-5
        if loss is tasks.cross_entropy:
            assert abs(float(task.loss(KEY, params)) + value) < 1e-5


def test_sampled_accuracy_is_the_mean_probability_of_the_label(digits, params):
    task = tasks.classification(NETWORK, digits, loss=tasks.sampled)
    pixels = (digits.train_images - digits.train_images.mean()) / digits.train_images.std()
    probability = np.exp(log_likelihood(logits_of(params, pixels), digits.train_labels)).mean()
    drawn = jax.vmap(lambda key: task.evaluate(key, params).fitness)(jax.random.split(KEY, 200))
    assert abs(float(drawn.mean()) - probability) < 0.005
    assert float(drawn.std()) > 0


@pytest.mark.parametrize(("part", "scored_by"), [("validation", "validate"), ("test", "test")])
def test_validation_and_test_are_each_on_their_own_images(digits, params, part, scored_by):
    images, labels = getattr(digits, f"{part}_images"), getattr(digits, f"{part}_labels")
    logits = logits_of(params, (images - digits.train_images.mean()) / digits.train_images.std())
    score = getattr(tasks.classification(NETWORK, digits), scored_by)(params)
    assert abs(float(score.fitness) - (logits.argmax(axis=1) == labels).mean()) < 1e-6
    assert abs(float(score.metrics["loss"]) + log_likelihood(logits, labels).mean()) < 1e-5


def test_no_run_sees_the_test_images(digits, params):
    """Test images that are not even numbers change nothing, and are in no program of a run."""
    nothing = digits._replace(test_images=np.full_like(digits.test_images, np.nan))
    seen = []
    for images in (digits, nothing):
        task = tasks.classification(NETWORK, images, batch=20)
        algorithm = jaxga.ga(task.init, v.low_rank(v.relative(0.1)), parents=1, children=4)
        stop = jaxga.stop.target(0.99, "validation_accuracy")
        result = jaxga.run(algorithm, task, generations=3, stop=stop, validate_every=1)
        seen.append(result.best.params)
        assert not np.isnan(result.history["validation_loss"]).any()
    chex.assert_trees_all_equal(*seen)
    assert np.isnan(task.test(params).metrics["loss"])


def test_without_test_images_there_is_no_test(digits):
    assert tasks.classification(NETWORK, data.Images(*digits[:4])).test is None


@pytest.mark.parametrize(("part", "name"), [("train", "training"), ("validation", "validation"), ("test", "test")])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, y + 1), "labels reach from 1 to 10, and the network has 10 outputs: take labels from 0 to 9"),
        (lambda x, y: (x, y - 1), "labels reach from -1 to 8, and the network has 10 outputs"),
        (lambda x, y: (x, y[:-1]), "images are of shape .* is due: as many as labels"),
        (lambda x, y: (x[:0], y[:0]), r"labels are of shape \(0,\) and type int32: give one integer an image"),
        (lambda x, y: (x, y.astype(np.float32)), "labels are of shape .* type float32: give one integer an image"),
        (lambda x, y: (x, np.eye(10, dtype=np.int32)[y]), "labels are of shape .* 10.* give one integer an image"),
    ],
)
def test_refuses_what_cannot_be_classified(digits, part, name, change, message):
    images, labels = change(getattr(digits, f"{part}_images"), getattr(digits, f"{part}_labels"))
    wrong = digits._replace(**{f"{part}_images": images, f"{part}_labels": labels})
    with pytest.raises(jaxga.InputError, match=f"^{name} {message}"):
        tasks.classification(NETWORK, wrong)


def test_refuses_labels_beyond_the_outputs(digits):
    message = "^training labels reach from 0 to 9, and the network has 6 outputs: take labels from 0 to 5, or a network"
    with pytest.raises(jaxga.InputError, match=message):
        tasks.classification(nn.MLP((6,)), digits)
    one = np.where(np.arange(180) == 7, 1000, digits.validation_labels % 2)
    with pytest.raises(jaxga.InputError, match=r"^validation labels reach from 0 to 1000, and the network has 10"):
        tasks.classification(NETWORK, digits._replace(validation_labels=one))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"validation_images": np.zeros((180, 7, 8, 1), np.float32)},
            r"^validation images are .* \(180, 8, 8, 1\) is due",
        ),
        ({"test_images": None}, r"^test images are of shape \(\), and \(179, 8, 8, 1\) is due"),
        ({"test_labels": None}, r"^test labels are of shape \(\) and type object"),
    ],
)
def test_refuses_parts_that_do_not_fit(digits, change, message):
    with pytest.raises(jaxga.InputError, match=message):
        tasks.classification(NETWORK, digits._replace(**change))


def test_a_batch_is_drawn_by_the_key(digits, params):
    task = tasks.classification(NETWORK, digits, batch=50)
    scores = jax.vmap(lambda key: task.evaluate(key, params).fitness)(jax.random.split(KEY, 400))
    whole = float(tasks.classification(NETWORK, digits).evaluate(KEY, params).fitness)
    assert len(np.unique(scores)) > 390
    assert abs(float(scores.mean()) - whole) < 4 * float(scores.std()) / 20
    assert task.evaluate(KEY, params).fitness == task.evaluate(KEY, params).fitness


def test_right_is_argmax_but_nan_is_never_right():
    logits = jax.random.randint(KEY, (500, 4), 0, 3).astype(jnp.float32)  # many ties
    labels = jax.random.randint(jax.random.key(1), (500,), 0, 4)
    np.testing.assert_array_equal(tasks.losses.right(logits, labels), logits.argmax(axis=1) == labels)
    assert not tasks.losses.right(jnp.full((4, 4), jnp.nan), jnp.arange(4)).any()


def test_a_network_that_overflowed_has_no_cross_entropy(digits, params):
    broken = jax.tree.map(lambda leaf: leaf * jnp.inf, params)
    assert np.isnan(tasks.classification(NETWORK, digits).evaluate(KEY, broken).fitness)


@pytest.mark.parametrize("batch", [0, -1, 1439])
def test_refuses_a_batch_that_cannot_be(digits, batch):
    with pytest.raises(jaxga.InputError, match=f"batch is {batch}"):
        tasks.classification(NETWORK, digits, batch=batch)


def test_the_data_is_no_part_of_the_program(digits, params):
    """Compiled programs are given the images, they do not hold a copy."""
    task = tasks.classification(NETWORK, digits)
    found = compilation.prepare(task.evaluate, (KEY, params))
    assert len(found.compiled.as_text()) < 200_000 < digits.train_images.nbytes
    assert found.memory.data == sum(array.nbytes for array in found.data) >= digits.train_images.nbytes
    again = compilation.jit(task.evaluate)
    chex.assert_trees_all_close(again(KEY, params), jax.jit(task.evaluate)(KEY, params), rtol=1e-6)
    assert jax.eval_shape(again, KEY, params).fitness.shape == ()  # within another program it is the function itself


@pytest.mark.parametrize("key", [jaxga.common, jaxga.independent])
@pytest.mark.slow
def test_paired_fitness_is_the_improvement_over_the_parent_on_the_same_batch(digits, key):
    task = tasks.classification(NETWORK, digits, batch=20, key=key)
    algorithm = jaxga.ga(task.init, v.low_rank(v.relative(0.2)), parents=2, children=8)
    state = jax.jit(algorithm.init)(KEY)
    state, _ = jax.jit(algorithm.update)(state, jax.jit(jaxga.vmapped(algorithm, task))(state))  # parents that differ

    def score(chunk, paired):
        return jax.jit(jaxga.vmapped(algorithm, jaxga.paired(task) if paired else task, chunk))(state).fitness

    draw = jaxga.base.generation_key(state, jaxga.base.Purpose.EVALUATION)
    parents = [jax.tree.map(lambda leaf, t=t: leaf[t], state.parents.params) for t in range(2)]
    before = jnp.stack([task.evaluate(key(draw, i), parents[i // 4]).fitness for i in range(8)])
    for chunk in (2, 8):
        chex.assert_trees_all_close(score(chunk, True), score(chunk, False) - before, atol=1e-5)


@pytest.mark.slow
def test_paired_elites_must_be_scored_again(digits):
    task = jaxga.paired(tasks.classification(NETWORK, digits, batch=20))
    make = {"parents": 2, "children": 4, "elites": 1}
    with pytest.raises(jaxga.InputError, match="reevaluate=True"):
        jaxga.vmapped(jaxga.ga(task.init, v.gaussian(v.relative(0.1)), **make), task)
    algorithm = jaxga.ga(task.init, v.gaussian(v.relative(0.1)), reevaluate=True, **make)
    evaluation = jax.jit(jaxga.vmapped(algorithm, task))(jax.jit(algorithm.init)(KEY))
    assert evaluation.fitness[4] == 0  # a parent is no better than itself


def test_a_run_validates_logs_and_stops_at_an_accuracy(digits):
    task = tasks.classification(nn.MLP((10,)), digits, batch=200)
    algorithm = jaxga.ga(
        task.init, v.low_rank(v.relative(0.3)), parents=1, children=64, recombination=v.average(32, v.by_rank, scale=4)
    )
    target = jaxga.stop.target(0.6, "validation_accuracy")
    result = jaxga.run(algorithm, task, generations=100, stop=target, validate_every=4)
    accuracy, best = result.history["validation_accuracy"], result.history["best_validation"]
    measured = ~np.isnan(accuracy)
    assert result.stopped_because == "target reached"
    assert np.flatnonzero(measured).tolist() == list(range(3, len(accuracy), 4))
    assert len(accuracy) % 4 == 0  # stopped right where it was measured
    assert accuracy[-1] >= 0.6 > np.nanmax(accuracy[:-1])
    np.testing.assert_array_equal(best[3:], np.fmax.accumulate(accuracy)[3:])
    score = jax.jit(task.validate)(result.best.params)
    chex.assert_trees_all_close(score.fitness, accuracy[-1], atol=1e-6)
    chex.assert_trees_all_close(score.metrics["loss"], result.history["validation_loss"][-1], atol=1e-5)


@pytest.mark.slow
def test_many_runs_validate_as_single_ones_do(digits):
    task = tasks.classification(nn.MLP((10,)), digits, batch=50)

    def make(sigma):
        return jaxga.ga(task.init, v.gaussian(v.relative(sigma)), parents=1, children=8), task

    runs = jaxga.run_many(make, generations=6, seeds=2, sweep={"sigma": [0.1, 0.2]}, validate_every=3)
    single = jaxga.run(
        make(0.2)[0], task, jax.random.fold_in(jax.random.key(0), 1), generations=6, validate_every=3
    ).history
    for name in ("validation_accuracy", "validation_loss", "best_validation"):
        np.testing.assert_allclose(runs.metrics[name][3], single[name], rtol=1e-5)
