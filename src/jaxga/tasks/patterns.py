"""Small synthetic data sets. Each tests one ability of a memory."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxga.base import Evaluation, Key, Params, Task, common, independent, require, require_at_least, require_whole
from jaxga.data import Images
from jaxga.tree import check_like

GLYPHS = """
####. ..#.. ####. ####. #..#. ##### .###. ##### .###. .####
#..#. .##.. ...#. ...#. #..#. #.... #.... ...#. #...# #...#
#..#. ..#.. ####. .###. ##### ####. ####. ..#.. .###. .####
#..#. ..#.. #.... ...#. ...#. ....# #...# .#... #...# ....#
####. .###. ####. ####. ...#. ####. .###. .#... .###. .###.
"""


def glyphs(train: int = 1000, validation: int = 1000, size: int = 16, noise: float = 0.1, seed: int = 0) -> Images:
    """Each image of ``size x size`` pixels shows one of ten glyphs, 5 x 5 pixels, at a random place, with noise.

    It tests translation invariance: pixels learned at one place do not help at another.

    Args:
      train: number of training images, by default 1000.
      validation: number of validation images, by default 1000.
      size: side of an image in pixels, 5 or more, by default 16.
      noise: standard deviation of the Gaussian noise on every pixel, by default 0.1.
      seed: seed of the data, by default 0.

    Raises:
      InputError: if ``size`` is below 5, ``noise`` is negative, or a number of images is below 1.

    >>> images = glyphs(3, 2)
    >>> images.train_images.shape, images.validation_labels.shape
    ((3, 16, 16, 1), (2,))
    """
    require_whole(5, size=size)
    require_at_least(0, noise=noise)
    shapes = np.array([[[dot == "#" for dot in part] for part in row.split()] for row in GLYPHS.split("\n") if row])
    shapes = shapes.transpose(1, 0, 2).astype(np.float32)  # [10, 5, 5]

    def draw(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 10, number)
        images = noise * rng.standard_normal((number, size, size, 1))
        for image, label, (row, column) in zip(images, labels, rng.integers(0, size - 4, (number, 2)), strict=True):
            image[row : row + 5, column : column + 5, 0] += shapes[label]
        return images, labels

    return _images(draw, train, validation, seed)


def count_ones(train: int = 1000, validation: int = 1000, size: int = 6, seed: int = 0) -> Images:
    """Images of ``size x size`` random bits. The label is the number of ones, modulo 10.

    No single bit carries information about the label.

    Args:
      train: number of training images, by default 1000.
      validation: number of validation images, by default 1000.
      size: side of an image in pixels, 1 or more, by default 6.
      seed: seed of the data, by default 0.

    Raises:
      InputError: if ``size`` or a number of images is below 1.
    """
    require_whole(1, size=size)

    def draw(rng: np.random.Generator, number: int) -> tuple[np.ndarray, np.ndarray]:
        bits = rng.integers(0, 2, (number, size, size, 1))
        return bits, bits.sum(axis=(1, 2, 3)) % 10

    return _images(draw, train, validation, seed)


def _images(draw: Any, train: int, validation: int, seed: int) -> Images:
    require_whole(1, train=train, validation=validation)
    parts = [
        draw(rng, number) for rng, number in zip(np.random.default_rng(seed).spawn(2), (train, validation), strict=True)
    ]
    return Images(
        *(array for images, labels in parts for array in (images.astype(np.float32), labels.astype(np.int32)))
    )


def cat_in_dogs(
    dogs: int = 63, dimension: int = 8, spread: float = 0.3, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A cluster of points with label 0 ("dogs"), and at its centre one point with label 1 ("cat").

    A prototype for the cat is also the most similar one for some dogs. So it raises the fitness only if other
    prototypes already classify these dogs, and selection does not prepare that.

    Args:
      dogs: number of points with label 0, by default 63.
      dimension: length of a point, by default 8.
      spread: standard deviation of the dogs around the centre, which has length 1; by default 0.3.
      seed: seed of the data, by default 0.

    Returns:
      Points float32 ``[dogs + 1, dimension]``, the cat last, and labels int32 ``[dogs + 1]``.

    Raises:
      InputError: if ``dogs`` or ``dimension`` is below 1.
    """
    require_whole(1, dogs=dogs, dimension=dimension)
    rng = np.random.default_rng(seed)
    middle = rng.standard_normal(dimension)
    middle /= np.linalg.norm(middle)
    points = np.vstack([middle + spread * rng.standard_normal((dogs, dimension)), middle])
    return points.astype(np.float32), (np.arange(dogs + 1) == dogs).astype(np.int32)


def ring(points: int = 24, radius: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """A ring of points with label 0 around one point with label 1.

    Two prototypes classify a point by the sign of a linear function. The mean of this function over the ring is its
    value at the centre, so two prototypes of any length cannot separate the labels. Four can.

    Args:
      points: number of points on the ring, 3 or more, by default 24.
      radius: radius of the ring, by default 0.5.

    Returns:
      Points float32 ``[points + 1, 3]``, the centre last, with a third component that is always 1; and labels int32
      ``[points + 1]``.

    Raises:
      InputError: if ``points`` is below 3.
    """
    require_whole(3, points=points)
    angle = 2 * np.pi * np.arange(points) / points
    around = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.ones(points)], axis=1)
    inputs = np.vstack([around, [[0, 0, 1]]]).astype(np.float32)
    return inputs, (np.arange(points + 1) == points).astype(np.int32)


def mix(parts: Mapping[str, tuple[float, Task]]) -> Task:
    """Several tasks for one network. Fitness is the weighted sum of their fitness, each logged as ``score_<name>``.

    An example is MNIST and noise of the same shape: the first can be generalised, the second only memorized.
    Parameters are initialised by the first task. The parameters of the other tasks must have the same names, shapes and
    dtypes. Validation and test are those of the first task that has a validation.

    Args:
      parts: for each name a pair ``(weight, task)``.

    Raises:
      InputError: if there are no parts, a part is not such a pair, a weight is not finite, a task is paired, or
        parameters differ in structure, shape or dtype.

    >>> import jaxga
    >>> sphere = lambda c: Task(lambda key: jax.numpy.zeros(2), lambda key, w: Evaluation(-((w - c) ** 2).sum()))
    >>> task = mix({"one": (1.0, sphere(1.0)), "two": (0.5, sphere(2.0))})
    >>> float(task.evaluate(jax.random.key(0), task.init(jax.random.key(0))).fitness)
    -6.0
    """
    require(len(parts) > 0, "mix got no parts: give it names, each with a weight and a task.")
    for name, part in parts.items():
        pair = isinstance(part, Sequence) and len(part) == 2 and isinstance(part[1], Task)
        require(pair, f"mix got a {type(part).__name__} as its part {name!r}, and (weight, task) was due.")
        require(bool(np.isfinite(part[0])), f"mix got the weight {part[0]} for its part {name!r}: it must be finite.")
    tasks = [task for _, task in parts.values()]
    require(all(task.comparable for task in tasks), "mix takes no paired tasks: pair the mixture instead.")
    shapes = [jax.eval_shape(task.init, jax.random.key(0)) for task in tasks]
    for name, shape in zip(parts, shapes, strict=True):
        who = f"init of the part {name!r} of mix, whose parts share one network,"
        jax.eval_shape(partial(check_like, old=shapes[0], who=who), shape)

    def evaluate(key: Key, params: Params) -> Evaluation:
        keys = jax.random.split(key, len(parts))
        scores = [task.score(own, params) for own, task in zip(keys, tasks, strict=True)]
        weighted = [weight * score.fitness for (weight, _), score in zip(parts.values(), scores, strict=True)]
        logged = {f"score_{name}": score.fitness for name, score in zip(parts, scores, strict=True)}
        return Evaluation(sum(weighted), sum(score.tiebreak for score in scores), logged)

    judge = next((task for task in tasks if task.validate), Task(tasks[0].init, evaluate))
    same = all(task.key is common for task in tasks)
    key = common if same else independent
    return Task(tasks[0].init, evaluate, key, validate=judge.validate, test=judge.test)
