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

    Raises:
      InputError: if envpool is not installed.

    >>> len(atari_games()) > 57, "Frostbite" in atari_games()
    (True, True)
    """
    registered = envpool().registration.registry.specs.items()
    return sorted(name.removesuffix(SUFFIX) for name, (module, *_) in registered if module == "envpool.atari")


def paper_network(actions: int, small: bool = False) -> ConvNet:
    """The network of Such et al. 2017. With 18 actions it has 4,052,658 parameters, or 1,008,450 if ``small``.

    Initial weights are truncated normal with standard deviation 1 / sqrt(fan in), in the last layer a tenth of that.
    Initial biases are zero.

    Args:
      actions: the number of actions.
      small: take the smaller network, by default False.
    """
    last = linen.initializers.variance_scaling(OUTPUT_SCALE**2, "fan_in", "truncated_normal")
    if small:
        return ConvNet(actions, (16, 32), (8, 4), (4, 2), 256, padding="SAME", output_init=last)
    return ConvNet(actions, padding="SAME", output_init=last)


def as_image(observations: jax.Array) -> jax.Array:
    """Stacked frames ``[B, stack, h, w]`` uint8 as one float image ``[B, h, w, stack]`` from 0 to 1."""
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
    """One Atari game in 84 x 84 grey pixels, for a network whose largest output chooses the action.

    Without sticky actions, only the number of no-ops at the start of an episode is random. Episodes of one network with
    the same start have the same return, so a network has at most ``noops`` different returns.

    Args:
      game: name of the game, one of `atari_games()`, such as "Frostbite".
      network: a flax module from ``[B, 84, 84, stack]`` to one output per action, by default `paper_network`.
      small: use the smaller `paper_network` if ``network`` is not given, by default False.
      frame_skip: frames per step of the agent, by default 4. A screen is the pixelwise maximum of the last two frames.
      stack: screens in an observation, by default 4. Screens before the start are black.
      noops: largest number of frames that pass before the agent acts, by default 30. The number is drawn from 1.
      max_steps: most steps of the agent in an episode, by default 5000, which are 20,000 frames.
      sticky: probability that the emulator repeats the previous action, by default 0. Machado et al. 2018 use 0.25.
      full_actions: use all 18 actions instead of those with an effect in the game, by default False.
      clip_rewards: clip rewards to -1, 0 and 1, by default False.
      end_on_life_loss: end an episode when a life is lost, by default False.
      fire_start: press fire at the start of an episode, which some games wait for, by default False.
      area_resize: resize the screen by area interpolation instead of bilinearly, by default False.
      fresh: make a new environment for each episode, seeded with its start, by default False. It takes a tenth of a
        second of one core. Otherwise an environment is used again if its memory equals that of a new one. New
        environments are always made with sticky actions, and for games that keep memory from one episode to the next.
      key: `jaxga.independent` (default) gives each individual its own starts, `jaxga.common` gives all the same starts.

    Raises:
      InputError: for an unknown game, with the most similar names; if envpool is not installed; if a number is out of
        range.

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
    """The starts that can be recognised by the emulator's memory; empty if they cannot. The search takes 2 seconds."""
    options = dict(config)
    make, count = partial(make_pool, task_id, **options), options["noop_max"]
    starts = known_starts(make, count)
    return starts if len(starts) == count and starts_again(make, actions, starts) else {}


def film(game: Game, start: int, actions: Sequence[int]) -> np.ndarray:
    """The screens of an episode in colour, ``[steps, 210, 160, 3]`` uint8, 15 per second.

    Args:
      game: the game, from `atari`.
      start: start of the episode.
      actions: actions of the agent, int ``[steps]``, see `jaxga.evaluate.Rollouts.record`.
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


SUFFICIENT = 1_000_000  # envpool's limit of steps, never reached: `jaxga.arena` ends episodes at max_steps
