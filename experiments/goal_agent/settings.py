"""What can be chosen about the agent, and what is refused."""

from dataclasses import dataclass
from typing import Literal

from goal_agent.encoder import Kind
from goal_agent.environments import Problem
from jaxga.base import require, require_at_least, require_whole

Chooser = Literal["setter", "random", "given", "none"]
Reward = Literal["reach", "steps", "progress"]
Stream = Literal["diverse", "recent"]


@dataclass
class Settings:
    """Of the agent; what suits each environment is in train.py."""

    chooser: Chooser = "setter"
    """Who sets goals: the goal setter, chance, the environment. "none" learns from the environment's reward."""
    reward: Reward = "reach"
    """The actor is paid 1 for reaching the goal; or pays 1 for every step until then; or is paid for progress."""
    encoder: Kind = "none"
    """none, plain, vae (KL of mean and sigma) or mmd."""
    code: int = 16
    """Numbers of a code."""
    near: float = 0.5
    """A goal is reached where no number of the code is farther from it."""
    hindsight: float = 0.8
    """Part of the actor's batch whose goals are states that came later."""
    optimism: float = 0.2
    """Part of the goal setter's batch, or with chooser none of the actor's, that says: something random is good."""
    hope: float = 0.3
    """How good."""
    tries: float = 0.0
    """With chooser none: optimism counts as much as so many good tries of every action in every state. With 0, and with
    every other chooser, it counts as its part of the batch, however much the agent has tried."""
    intrinsic: float = 0.0
    """Reward of the goal setter for goals that are neither certain nor impossible."""
    proposals: int = 64
    """Goals of which the goal setter takes the best."""
    stages: int = 1
    """Goals of an episode, one after another. When one was reached before the next, actions are random."""
    patience: int = 10_000
    """Steps after which a goal may be given up."""
    threshold: float = 0.02
    """It is, where the actor expects less of it."""
    exploration: float = 0.1
    """Part of the steps that are random."""
    discount: float = 0.98
    hidden: tuple[int, ...] = (64, 64)
    rate: float = 1e-3
    """Of Adam."""
    tenth: int = 1_000_000
    """After so many steps of learning the actor's rate is a tenth, and so on."""
    environments: int = 16
    """Episodes at a time."""
    updates: int = 40
    """Steps of learning after each of these."""
    batch: int = 64
    episodes: int = 1000
    """That the replay holds."""
    states: int = 2000
    """That the diverse stream holds."""
    stream: Stream = "diverse"
    """What the autoencoder learns from: states that differ as much as possible, or those of the recent episodes."""
    following: float = 0.02
    """How fast the slow weights follow."""
    differences: bool = False
    """Networks read where state and goal differ, beside both."""


def check(problem: Problem, settings: Settings) -> None:
    """Refuse what cannot work.

    Raises:
      InputError: with what is wrong, and the way out.
    """
    s, steps = settings, problem.environment.max_steps
    counts = {"environments": s.environments, "updates": s.updates, "batch": s.batch, "proposals": s.proposals}
    require_whole(1, **counts, stages=s.stages, code=s.code)
    require(steps % s.stages == 0, f"stages is {s.stages}, and must divide the {steps} steps of an episode.")
    require_at_least(0, tries=s.tries)
    for name in ("optimism", "hindsight", "exploration"):
        share = getattr(s, name)
        require_at_least(0, **{name: share})
        require(share <= 1, f"{name} is {share}, and must lie between 0 and 1.")
    require(
        s.episodes >= s.environments,
        f"episodes is {s.episodes}, and must be {s.environments} or more: so many begin at once.",
    )
    require(
        problem.given is not None or s.chooser != "given",
        "chooser is 'given', and this environment gives no goals: take 'setter' or 'random'.",
    )
