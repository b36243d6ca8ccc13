"""Learning within a life: what a network is born with is evolved, what it learns in its life is not inherited.

A *life* is a task that is drawn by a key, ``(key) -> Task``: a sine curve of some amplitude, a goal somewhere, labels
in some order. An individual lives several lives, learns in each, and its fitness is how good it is after learning. Each
function here makes a `jaxga.Task`, so that every selection, variation, device and worker goes with it.
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
