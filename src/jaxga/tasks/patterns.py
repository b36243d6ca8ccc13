"""Small made-up data, each for one question: what must a memory be able to do?"""

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
    """Ten glyphs of 5 x 5 pixels, one of them anywhere in an image of ``size x size``, with Gaussian noise on top.

    What is to be recognised is a shape wherever it is: pixels that were learned in one place say nothing in another.

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
    """Images of ``size x size`` random bits; the label is how many are 1, modulo 10. No bit matters by itself."""
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
    """Points ``[dogs + 1, dimension]`` around one place, and in the middle of them one of another label.

    A prototype for the cat takes dogs with it, however well it is aimed; so it is of use only where others hold the
    dogs already, and nothing selects for that.
    """
    require_whole(1, dogs=dogs, dimension=dimension)
    rng = np.random.default_rng(seed)
    middle = rng.standard_normal(dimension)
    middle /= np.linalg.norm(middle)
    points = np.vstack([middle + spread * rng.standard_normal((dogs, dimension)), middle])
    return points.astype(np.float32), (np.arange(dogs + 1) == dogs).astype(np.int32)


def ring(points: int = 24, radius: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """A ring ``[points + 1, 3]`` around one point of another label; the third number is always 1.

    With two prototypes a point is told by the sign of a linear function. Its mean over the ring is its value in the
    middle, so no two prototypes can do it, of whatever length; four can.
    """
    require_whole(3, points=points)
    angle = 2 * np.pi * np.arange(points) / points
    around = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.ones(points)], axis=1)
    inputs = np.vstack([around, [[0, 0, 1]]]).astype(np.float32)
    return inputs, (np.arange(points + 1) == points).astype(np.int32)


def mix(parts: Mapping[str, tuple[float, Task]]) -> Task:
    """Several tasks for one network: fitness is the sum of theirs by weight, and each is logged as ``score_<name>``.

    For instance MNIST and noise of the same shape: one part can be understood, the other one only be memorized. The
    first task's network is taken; that of the others must have parameters of the same names and shapes. The first task
    that can be validated is, and is tested too.

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
