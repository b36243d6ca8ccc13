"""Learning within a life: evolution changes what a network starts with, and what it learns is not inherited.

A *life* is a task that is drawn by a key, ``(key) -> Task``: a sine curve with a random amplitude, a random goal, or
labels in a random order. An individual lives several lives and learns in each. Its fitness is its performance after
learning. The functions of this package make a `jaxga.Task`, which works with every selection and variation, and on any
device or worker.
"""

from jaxga.lifetime.learning import Learner, Lives, learn, learning_curve
from jaxga.lifetime.lives import permuted_labels, point_goals, relabelled, sine_curves, sinusoids
from jaxga.lifetime.plastic import Plastic, Rule, change_by_network, hebbian, plastic, taught
from jaxga.lifetime.policy_gradient import Trajectory, gaussian_or_softmax, policy_gradient, trajectories
from jaxga.lifetime.rewarded import Rewarded, rewarded

__all__ = [
    "Learner",
    "Lives",
    "Plastic",
    "Rewarded",
    "Rule",
    "Trajectory",
    "change_by_network",
    "gaussian_or_softmax",
    "hebbian",
    "learn",
    "learning_curve",
    "permuted_labels",
    "plastic",
    "point_goals",
    "policy_gradient",
    "relabelled",
    "rewarded",
    "sine_curves",
    "sinusoids",
    "taught",
    "trajectories",
]
