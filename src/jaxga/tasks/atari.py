"""Atari 2600 games in the Arcade Learning Environment (Bellemare et al. 2013), by envpool.

The defaults are the protocol of Such et al. 2017 (arXiv 1712.06567). There are two counters: a step of the agent is
four frames of the game.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

from jaxga.arena import known_starts, memory_of, starts_again
from jaxga.base import Game, Key, independent, require, require_whole
from jaxga.nn import ConvNet
from jaxga.tasks.games import check_name, envpool, make_game, make_pool

SUFFIX = "-v5"
OUTPUT_SCALE = 0.1


def atari_games() -> list[str]:
    """The names of all games.

    >>> len(atari_games()) > 57, "Frostbite" in atari_games()
    (True, True)
    """
    registered = envpool().registration.registry.specs.items()
    return sorted(name.removesuffix(SUFFIX) for name, (module, *_) in registered if module == "envpool.atari")


def paper_network(actions: int, small: bool = False) -> ConvNet:
    """The network of Such et al. 2017: with 18 actions 4,052,658 parameters; ``small`` 1,008,450.

    Weights are normal with standard deviation 1 / sqrt(fan in), in the last layer a tenth of it; biases begin at zero.
    """
    last = linen.initializers.variance_scaling(OUTPUT_SCALE**2, "fan_in", "truncated_normal")
    if small:
        return ConvNet(actions, (16, 32), (8, 4), (4, 2), 256, padding="SAME", output_init=last)
    return ConvNet(actions, padding="SAME", output_init=last)


def as_image(observations: jax.Array) -> jax.Array:
    """Stacked frames ``[B, stack, h, w]``, bytes, as one image ``[B, h, w, stack]`` from 0 to 1."""
    return jnp.moveaxis(observations, 1, -1).astype(jnp.float32) / 255


def atari(
    game: str,
    network: linen.Module | None = None,
    *,
    small: bool = False,
    frame_skip: int = 4,
    stack: int = 4,
    noops: int = 30,
    max_steps: int = 5000,
    sticky: float = 0.0,
    full_actions: bool = False,
    clip_rewards: bool = False,
    end_on_life_loss: bool = False,
    fire_start: bool = False,
    area_resize: bool = False,
    fresh: bool = False,
    key: Callable[[Key, jax.Array], Key] = independent,
) -> Game:
    """One game, 84 x 84 pixels in grey, for a network that always takes the action it likes best.

    Without sticky actions nothing but the number of no-ops before an episode is random, so an episode of a network has
    at most ``noops`` different outcomes: the same start, the same return.

    Args:
      game: "Frostbite", one of `atari_games()`.
      network: a flax module from ``[B, 84, 84, stack]`` to an output for each action; by default `paper_network`,
      small: or the smaller one.
      frame_skip: frames of the game in a step of the agent; the screen is the brightest of the last two.
      stack: screens that are seen together; those before the start are black.
      noops: 1 to so many frames pass before the agent acts.
      max_steps: of the agent, after which an episode is over: 5,000 are 20,000 frames.
      sticky: the probability that the emulator repeats the action before; 0.25 is the protocol of Machado et al. 2018.
      full_actions: all 18 actions, not only those that the game knows.
      clip_rewards: to -1, 0 and 1.
      end_on_life_loss: a life is an episode.
      fire_start: press fire at the start, which some games wait for.
      area_resize: shrink the screen by means of areas, and not bilinearly.
      fresh: give every episode a new environment (a tenth of a second of a core), seeded with its start, instead of one
        whose memory shows that it begins like a new one. This is always done where the latter cannot work: with sticky
        actions, and in games that carry memory over from one episode to the next.
      key: `jaxga.independent` gives every individual starts of its own, `jaxga.common` everyone the same ones.

    Raises:
      InputError: for an unknown game, with the nearest names; where envpool is missing.

    >>> game = atari("Frostbite")
    >>> game.frames, len(game.starts)
    (4, 4)
    >>> sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(game.init, jax.random.key(0))))
    4052658
    """
    check_name(game, atari_games())
    require_whole(1, frame_skip=frame_skip, stack=stack, noops=noops)
    require(0 <= sticky <= 1, f"sticky is {sticky}, and must lie between 0 and 1.")
    config = {
        "frame_skip": frame_skip,
        "stack_num": stack,
        "noop_max": noops,
        "repeat_action_probability": sticky,
        "full_action_space": full_actions,
        "reward_clip": clip_rewards,
        "episodic_life": end_on_life_loss,
        "use_fire_reset": fire_start,
        "use_inter_area_resize": area_resize,
        "max_episode_steps": SUFFICIENT,
    }
    task_id = f"{game}{SUFFIX}"
    actions = envpool().make_spec(task_id, **config).action_space.n
    network = network or paper_network(actions, small)
    made = make_game(task_id, network, max_steps, as_image, key, frame_skip, stack - 1, **config)
    if fresh or sticky:
        return made
    config["noop_max"] = min(noops, frame_skip)
    starts = _starts(task_id, actions, tuple(config.items()))
    if not starts:
        return made
    make = partial(made.make, noop_max=config["noop_max"])
    return made._replace(make=make, starts=starts, draw=lambda key: jax.random.randint(key, (), 0, noops, jnp.int32))


@lru_cache(maxsize=64)
def _starts(task_id: str, actions: int, config: tuple[tuple[str, Any], ...]) -> Mapping[bytes, int]:
    """Those that can be recognised, none where they cannot; to look for them takes two seconds."""
    options = dict(config)
    make, count = partial(make_pool, task_id, **options), options["noop_max"]
    starts = known_starts(make, count)
    return starts if len(starts) == count and starts_again(make, actions, starts) else {}


def film(game: Game, start: int, actions: Sequence[int]) -> np.ndarray:
    """What a person sees of an episode: screens ``[steps, 210, 160, 3]``, bytes, 15 a second.

    Args:
      game: from `atari`.
      start: of the episode.
      actions: what the agent did, see `jaxga.evaluate.Rollouts.record`.
    """
    size = {"stack_num": 1, "gray_scale": False, "img_height": 210, "img_width": 160}
    one = {"num_envs": 1, "batch_size": 1, "num_threads": 1}
    passing = 0
    if game.starts is None:
        camera = game.make(seed=[start], **one, **size)
        camera.reset()
    else:
        passing, beginning = divmod(start, len(game.starts))
        camera = game.make(seed=0, **one, **size)
        while game.starts.get(memory_of(camera.reset()[1])[0].tobytes()) != beginning:
            pass
    played = [camera.step(np.array([action], np.int32))[0] for action in [0] * passing + list(actions)]
    camera.close()
    return np.concatenate(played[passing:]).transpose(0, 2, 3, 1)


SUFFICIENT = 1_000_000  # steps in which envpool ends no episode: `jaxga.arena` does
