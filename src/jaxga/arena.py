"""Play episodes in environments of envpool: many at once, asynchronously, each slot refilled as soon as it is free.

A slot is one environment of a pool. envpool seeds the generator of an environment's random starts only once, when the
environment is made. Here an episode nevertheless depends on its own start only, and neither on the episodes before it
or beside it, nor on the number of slots. There are two ways to ensure this:

- *Recognised* starts. Without sticky actions, only one thing is random in Atari: the number of frames that pass before
  the agent acts. A reset lets 1 to 4 frames pass, where a step has 4 frames. The emulator's memory shows how many they
  were. The slot takes an episode whose start agrees with that, and lets the remaining frames pass in steps of 4. If no
  such episode is waiting, the slot is reset again.
- *Seeded* starts. In all other cases every episode has a new environment, seeded with the number of its start.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxga.base import InputError, Observer, Step, require_whole

IDLE, STARTING, SPARE = -1, -2, -3  # the state of a slot that plays no episode
TRIES = 60  # resets in a row to unknown starts, for each slot, after which starts cannot be recognised
FRESH = 256  # the most environments that are made together if each plays one episode


class Episode(NamedTuple):
    """One episode to play."""

    group: int  # the group of individuals that acts, see `Act`
    row: int  # index of the individual in its group
    start: int  # number of the start


class Outcome(NamedTuple):
    """The results of n episodes."""

    returns: np.ndarray  # [n], sum of the rewards
    steps: np.ndarray  # [n], steps of the agent
    observed: dict[str, np.ndarray]  # for each observer, [n, ...]


Act = Callable[[int, np.ndarray, np.ndarray], np.ndarray]  # (group, rows [k], observations [k, ...]) -> actions [k]
Make = Callable[..., Any]  # (num_envs, batch_size, num_threads, seed) -> a pool of envpool, of type "gymnasium"
Watch = Callable[[int, int], None]  # called after each batch of steps: (episodes over, steps so far)
Starts = Mapping[bytes, int]  # the emulator's memory after 1, 2, ... frames -> 0, 1, ...


def ignore(over: int, steps: int) -> None:
    """A `Watch` that does nothing."""
    del over, steps


def memory_of(info: Any) -> np.ndarray:
    """The emulator's memory ``[b, 128]``, from the ``info`` that Atari environments return."""
    return info["ram"]


def known_starts(make: Make, frames: int) -> dict[bytes, int]:
    """The emulator's memory after 1, 2, ..., ``frames`` frames in a new environment, without an action of the agent.

    Args:
      make: makes a pool, see `Make`.
      frames: the largest number of frames.

    Returns:
      The number of each start, from 0 on, by the emulator's memory. There are fewer than ``frames`` if some are equal.
    """
    pool = make(num_envs=1, batch_size=1, num_threads=1, seed=0, noop_max=1, frame_skip=1)
    seen = [memory_of(pool.reset()[1])[0].tobytes()]
    seen += [memory_of(pool.step(np.zeros(1, np.int32))[-1])[0].tobytes() for _ in range(1, frames)]
    pool.close()
    return {memory: number for number, memory in enumerate(seen)}


def starts_again(make: Make, actions: int, starts: Starts, games: int = 5, steps: int = 200) -> bool:
    """Do resets bring this game back to the starts of a new environment, whatever was played before?

    Several games of random actions are played. After each one the environment is reset up to 60 times, until it is at
    one of the starts.

    Args:
      make: makes a pool, see `Make`.
      actions: number of discrete actions.
      starts: from `known_starts`.
      games: number of games that are played, by default 5.
      steps: number of random actions in each game, by default 200.
    """
    pool = make(num_envs=1, batch_size=1, num_threads=1, seed=0)
    random = np.random.default_rng(0)

    def begins() -> bool:
        return any(memory_of(pool.reset()[1])[0].tobytes() in starts for _ in range(TRIES))

    def plays() -> None:
        for action in random.integers(actions, size=(steps, 1)):
            pool.step(action.astype(np.int32))

    again = begins() and all(plays() or begins() for _ in range(games))
    pool.close()
    return again


class Arena:
    """Plays episodes in many environments at once, which several threads emulate.

    Args:
      make: makes a pool of environments, see `Make`.
      actions: the action space of one environment, a gymnasium space.
      envs: the most episodes that are played at once.
      threads: number of threads that emulate.
      starts: starts that can be recognised. By default None: every episode has an environment of its own.
      unseen: frames of the frame stack that are black at the start of an episode, by default 0.
      observe: observers by name, for further measurements in each episode. By default there are none.

    Raises:
      InputError: if ``envs`` or ``threads`` is below 1.
    """

    def __init__(
        self,
        make: Make,
        actions: Any,
        envs: int,
        threads: int,
        starts: Starts | None = None,
        unseen: int = 0,
        observe: Mapping[str, Observer] | None = None,
    ):
        require_whole(1, envs=envs, threads=threads)
        self.actions, self.nothing = actions, np.zeros((1, *actions.shape), actions.dtype)
        self.make, self.envs, self.threads, self.starts, self.unseen = make, envs, threads, starts, unseen
        self.observe = dict(observe or {})
        self.pool: Any = None

    def play(self, episodes: Sequence[Episode], act: Act, width: int, most: int, watch: Watch = ignore) -> Outcome:
        """Play all episodes.

        Args:
          episodes: the episodes to play.
          act: computes actions, see `Act`.
          width: number of actions that are computed at once, if as many slots wait for one.
          most: the most steps of an episode.
          watch: see `Watch`. By default nothing is called.

        Returns:
          The results, in the order of ``episodes``.

        Raises:
          InputError: if resets do not lead to starts that can be recognised.
        """
        if self.starts is not None:
            pool, self.pool = self.pool or self._make(self.envs), None  # one left in the middle is not used again
            outcome = Play(self, pool, range(self.envs), episodes, act, width, most, watch).run()
            self.pool = pool
            return outcome
        nothing = {name: np.zeros((0, *observer.shape)) for name, observer in self.observe.items()}
        outcomes = [Outcome(np.zeros(0, np.float32), np.zeros(0, np.int32), nothing)]  # of nobody
        for begin in range(0, len(episodes), FRESH):
            some, before = episodes[begin : begin + FRESH], sum(int(part.steps.sum()) for part in outcomes)
            pool = self._make(len(some), [episode.start for episode in some])
            more = partial(_watch_more, watch, begin, before)
            outcomes.append(Play(self, pool, range(len(some)), some, act, width, most, more).run())
            pool.close()
        return jax.tree.map(lambda *parts: np.concatenate(parts), *outcomes)

    def _make(self, slots: int, seeds: Sequence[int] = ()) -> Any:
        """A pool with one more slot for each thread. These fill a batch when too few episodes are left."""
        seed = [*seeds, *range(self.threads)] if seeds else 0
        return self.make(num_envs=slots + self.threads, batch_size=self.threads, num_threads=self.threads, seed=seed)

    def random_play(self, seconds: float = 5.0) -> float:
        """Steps per second with random actions, which no agent can exceed here.

        Args:
          seconds: duration of the measurement, by default 5. It begins when all environments have been reset.
        """
        pool = self.make(num_envs=self.envs, batch_size=self.threads, num_threads=self.threads, seed=0)
        space, random = self.actions, np.random.default_rng(0)
        discrete = hasattr(space, "n")
        draw = partial(random.integers, space.n) if discrete else partial(random.uniform, space.low, space.high)
        pool.async_reset()
        steps, begun = -self.envs, time.monotonic()  # the first answers are resets
        while time.monotonic() - begun < seconds:
            if steps < 0:
                begun = time.monotonic()
            slots = pool.recv()[-1]["env_id"]
            actions = draw(size=(self.threads, *space.shape)).astype(space.dtype)
            pool.send(actions, slots)
            steps += self.threads
        pool.close()
        return steps / seconds


class _Told(Mapping[str, Any]):
    """What an environment of a batch returns beside the observation."""

    def __init__(self, info: Any, place: int):
        self.info, self.place = info, place

    def __getitem__(self, name: str) -> Any:
        return self.info[name][self.place]

    def __iter__(self) -> Iterator[str]:
        return iter(self.info)

    def __len__(self) -> int:
        return len(self.info)


def _watch_more(watch: Watch, over_before: int, steps_before: int, over: int, steps: int) -> None:
    watch(over_before + over, steps_before + steps)


class Play:
    """Plays episodes in one pool of environments until all are over.

    If starts are recognised, any slot takes any episode. Otherwise slot s plays episode s only.
    """

    def __init__(
        self,
        arena: Arena,
        pool: Any,
        slots: Sequence[int],
        episodes: Sequence[Episode],
        act: Act,
        width: int,
        most: int,
        watch: Watch,
    ):
        self.pool, self.envs, self.starts, self.unseen = pool, arena.envs, arena.starts, arena.unseen
        self.nothing, self.observe = arena.nothing, arena.observe
        self.episodes, self.act, self.width, self.most, self.watch = episodes, act, width, most, watch
        every, self.batch = pool.config["num_envs"], pool.config["batch_size"]
        self.free, self.spare = deque(slots), deque(range(len(slots), every))
        self.playing = np.full(every, IDLE)  # [slots], the number of its episode, or IDLE, STARTING or SPARE
        self.passing = np.zeros(every, int)  # [slots], steps that must pass before the agent acts
        self.seen: Any = None  # [slots, ...], the latest observations
        self.ready: dict[int, list[int]] = {}  # by group: the slots that wait for an action
        self.waiting: dict[int, deque[int]] = {}  # by `beginning`: episodes that have not begun
        for number, episode in enumerate(episodes):
            self.waiting.setdefault(self.beginning(episode.start, number)[0], deque()).append(number)
        self.unstarted = self.left = len(episodes)
        self.in_flight = self.busy = self.unknown = 0
        self.returns, self.steps = np.zeros(len(episodes)), np.zeros(len(episodes), int)
        self.watching: dict[tuple[str, int], Any] = {}  # by observer and slot: its accumulator
        self.acted: dict[int, Any] = {}  # by slot: the latest action
        self.observed = {name: np.zeros((len(episodes), *each.shape)) for name, each in self.observe.items()}

    def beginning(self, start: int, slot: int) -> tuple[int, int]:
        """The recognised start that a slot must be at for this start, and the number of steps that must then pass.

        If starts are not recognised, it is the slot itself, and no step passes.
        """
        return (start % len(self.starts), start // len(self.starts)) if self.starts else (slot, 0)

    def run(self) -> Outcome:
        """Play all episodes, and return the results.

        A group acts as soon as ``width`` of its slots wait, or when the emulator has at most 4 batches left to answer.
        """
        self.refill()
        while self.left:
            group = max(self.ready, key=lambda group: len(self.ready[group]), default=None)
            if group is None or (len(self.ready[group]) < self.width and self.in_flight > 4 * self.batch):
                self.receive()
            else:
                self.answer(group)
        while self.in_flight:
            self.receive()  # so that no answer is outstanding when the next episodes begin
        return Outcome(self.returns, self.steps, self.observed)

    def refill(self) -> None:
        """Reset free slots, at most as many as there are episodes that have not begun."""
        starting = int(np.sum(self.playing == STARTING))
        count = min(self.unstarted - starting, self.envs - self.busy, len(self.free))
        if count > 0:
            slots = np.array([self.free.popleft() for _ in range(count)], np.int32)
            self.playing[slots] = STARTING
            self.busy += count
            self.in_flight += count
            self.pool._reset(slots)

    def receive(self) -> None:
        """Process the answers of a batch of slots. If fewer slots are due to answer, spare slots fill the batch."""
        missing = self.batch - self.in_flight
        if missing > 0:
            slots = np.array([self.spare.popleft() for _ in range(missing)])
            self.playing[slots] = SPARE
            self.pass_over(slots)
        observations, rewards, ended, cut, info = self.pool.recv()
        slots = info["env_id"]
        self.in_flight -= len(slots)
        if self.seen is None:
            self.seen = np.zeros((len(self.playing), *observations.shape[1:]), observations.dtype)
        self.seen[slots] = observations
        passing = []
        for place, slot in enumerate(slots.tolist()):
            number = self.playing[slot]
            if number == SPARE:
                self.playing[slot] = IDLE
                self.spare.append(slot)
            elif number == STARTING:
                self.begin(slot, memory_of(info)[place].tobytes() if self.starts else b"")
            elif self.passing[slot]:
                self.passing[slot] -= 1
            else:
                self.returns[number] += rewards[place]
                self.steps[number] += 1
                self.look(slot, info, place, rewards[place])
                if ended[place] or cut[place] or self.steps[number] >= self.most:
                    self.left -= 1
                    self.conclude(slot, int(number))
                    self.release(slot)
            if self.passing[slot]:
                passing.append(slot)
            elif self.playing[slot] >= 0:
                self.present(slot)
                if self.steps[self.playing[slot]] == 0:
                    self.watch_from(slot, info, place)
        if passing:
            self.pass_over(np.array(passing))
        self.refill()
        self.watch(len(self.episodes) - self.left, int(self.steps.sum()))

    def watch_from(self, slot: int, info: Any, place: int) -> None:
        """Start the observers of an episode."""
        for name, observer in self.observe.items():
            self.watching[name, slot] = observer.start(_Told(info, place), self.seen[slot].copy())

    def look(self, slot: int, info: Any, place: int, reward: float) -> None:
        """Pass a step to the observers."""
        for name, observer in self.observe.items():
            step = Step(self.seen[slot].copy(), self.acted[slot], reward, _Told(info, place))
            self.watching[name, slot] = observer.add(self.watching[name, slot], step)

    def conclude(self, slot: int, number: int) -> None:
        """Store the results of the observers of an episode that is over."""
        for name, observer in self.observe.items():
            self.observed[name][number] = observer.end(self.watching.pop((name, slot)))

    def begin(self, slot: int, memory: bytes) -> None:
        """Let a slot that was reset play a waiting episode with the same start. If there is none, release the slot.

        Raises:
          InputError: if too many resets in a row led to unknown starts.
        """
        beginning = self.starts.get(memory, -1) if self.starts else slot
        self.unknown = self.unknown + 1 if beginning < 0 else 0
        if self.unknown > TRIES * self.envs:
            raise InputError(
                "this game carries memory over from one episode to the next, so that its starts cannot be recognised: "
                "pass fresh=True, which gives every episode an environment of its own."
            )
        line = self.waiting.get(beginning)
        if not line:
            self.release(slot)
            return
        number = self.playing[slot] = line.popleft()
        self.passing[slot] = self.beginning(self.episodes[number].start, slot)[1]
        self.unstarted -= 1

    def present(self, slot: int) -> None:
        """Let a slot wait for an action. Frames from before the start of its episode are made black."""
        number = self.playing[slot]
        if self.steps[number] < self.unseen:
            self.seen[slot, : self.unseen - self.steps[number]] = 0
        self.ready.setdefault(self.episodes[number].group, []).append(slot)

    def release(self, slot: int) -> None:
        """Make a slot idle. If starts are recognised, it can take another episode."""
        self.playing[slot] = IDLE
        self.busy -= 1
        if self.starts:
            self.free.append(slot)

    def answer(self, group: int) -> None:
        """Compute the actions of a group for at most ``width`` of the slots that wait, and send them."""
        slots = np.array(self.ready[group][: self.width])
        del self.ready[group][: self.width]
        if not self.ready[group]:
            del self.ready[group]
        rows = np.array([self.episodes[number].row for number in self.playing[slots]])
        actions = self.act(group, rows, self.seen[slots])
        if self.observe:
            self.acted |= dict(zip(slots.tolist(), actions, strict=True))
        self.send(actions, slots)

    def pass_over(self, slots: np.ndarray) -> None:
        """Send these slots the action that does nothing."""
        self.send(np.repeat(self.nothing, len(slots), axis=0), slots)

    def send(self, actions: np.ndarray, slots: np.ndarray) -> None:
        """Send actions ``[k, ...]`` to these slots ``[k]``."""
        self.in_flight += len(slots)
        self.pool.send(actions.astype(self.nothing.dtype), slots.astype(np.int32))
