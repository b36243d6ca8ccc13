"""Play episodes in environments of envpool: asynchronously, many at once, every slot refilled as soon as it is free.

An environment of envpool draws its random starts from a generator that is seeded once, when it is made. An episode here
depends on its own start alone, whatever was played before it, beside it, or in how many slots:

- *Recognised* starts: without sticky actions, chance decides one thing in Atari: how many frames pass before the agent
  acts. A slot is reset with 1 to 4 of them (a step has 4), and the emulator's memory tells how many those were;
  it takes an episode that begins so, and the others pass in steps of 4. Where none begins so, it is reset again.
- *Seeded* starts: anything else gets a fresh environment for every episode, seeded with the number of its start.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxga.base import InputError, Observer, Step, require_whole

IDLE, STARTING, SPARE = -1, -2, -3  # what a slot does that plays no episode
TRIES = 60  # resets in a row that bring a slot to no known start
FRESH = 256  # environments that are made together where each plays one episode


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
Make = Callable[..., Any]  # (num_envs, batch_size, num_threads, seed) -> an envpool of the gymnasium kind
Watch = Callable[[int, int], None]  # is told now and then: (episodes that are over, steps so far)
Starts = Mapping[bytes, int]  # the emulator's memory after 1, 2, ... frames, and their number from 0 on


def ignore(over: int, steps: int) -> None:
    """Watch nothing."""
    del over, steps


def memory_of(info: Any) -> np.ndarray:
    """The emulator's memory ``[b, 128]`` in what an Atari environment tells beside the observation."""
    return info["ram"]


def known_starts(make: Make, frames: int) -> dict[bytes, int]:
    """The emulator's memory in a fresh environment after 1, 2, ..., ``frames`` frames in which nothing is done."""
    pool = make(num_envs=1, batch_size=1, num_threads=1, seed=0, noop_max=1, frame_skip=1)
    seen = [memory_of(pool.reset()[1])[0].tobytes()]
    seen += [memory_of(pool.step(np.zeros(1, np.int32))[-1])[0].tobytes() for _ in range(1, frames)]
    pool.close()
    return {memory: number for number, memory in enumerate(seen)}


def starts_again(make: Make, actions: int, starts: Starts, games: int = 5, steps: int = 200) -> bool:
    """Whether resets bring this game back to starts that a fresh environment has, whatever was played before."""
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
    """So many environments at once, on so many threads.

    Args:
      make: ``(num_envs, batch_size, num_threads, seed) -> pool``.
      actions: their space.
      envs: episodes that are played at once.
      threads: that emulate.
      starts: those that can be recognised; without them every episode has an environment of its own.
      unseen: frames of the stack that an agent has not seen at its start: they are black.
      observe: by name, what else is measured in an episode.
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
          act: see `Act`.
          width: number of actions to compute at once, if that many slots wait.
          most: most steps of an episode.
          watch: see `Watch`, by default ignored.
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
        """A pool with a few slots more, to fill batches where too few episodes are left."""
        seed = [*seeds, *range(self.threads)] if seeds else 0
        return self.make(num_envs=slots + self.threads, batch_size=self.threads, num_threads=self.threads, seed=seed)

    def random_play(self, seconds: float = 5.0) -> float:
        """Steps a second with random actions: the most that any agent can play here."""
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
    """What an environment tells beside the observation, of one of a batch."""

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
    """One pool of environments, until all of these episodes are over.

    Where starts are recognised, any slot takes any episode; else slot s is there for episode s alone.
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
        self.playing = np.full(every, IDLE)  # the number of its episode
        self.passing = np.zeros(every, int)  # steps that a slot lets pass before the agent acts
        self.seen: Any = None  # [slots, ...] latest observations
        self.ready: dict[int, list[int]] = {}  # by group: slots that wait for an action
        self.waiting: dict[int, deque[int]] = {}  # by what a slot must begin as: episodes without one
        for number, episode in enumerate(episodes):
            self.waiting.setdefault(self.beginning(episode.start, number)[0], deque()).append(number)
        self.unstarted = self.left = len(episodes)
        self.in_flight = self.busy = self.unknown = 0
        self.returns, self.steps = np.zeros(len(episodes)), np.zeros(len(episodes), int)
        self.watching: dict[tuple[str, int], Any] = {}  # by observer and slot: what it has seen
        self.acted: dict[int, Any] = {}  # by slot: the latest action
        self.observed = {name: np.zeros((len(episodes), *each.shape)) for name, each in self.observe.items()}

    def beginning(self, start: int, slot: int) -> tuple[int, int]:
        """What a slot must begin as for this start, and the steps that it lets pass then."""
        return (start % len(self.starts), start // len(self.starts)) if self.starts else (slot, 0)

    def run(self) -> Outcome:
        """Play them. A group is asked as soon as it fills the width, or when the emulator has little left to do."""
        self.refill()
        while self.left:
            group = max(self.ready, key=lambda group: len(self.ready[group]), default=None)
            if group is None or (len(self.ready[group]) < self.width and self.in_flight > 4 * self.batch):
                self.receive()
            else:
                self.answer(group)
        while self.in_flight:
            self.receive()  # so that the next episodes find the pool at rest
        return Outcome(self.returns, self.steps, self.observed)

    def refill(self) -> None:
        """Reset free slots, as many as there are episodes without one."""
        starting = int(np.sum(self.playing == STARTING))
        count = min(self.unstarted - starting, self.envs - self.busy, len(self.free))
        if count > 0:
            slots = np.array([self.free.popleft() for _ in range(count)], np.int32)
            self.playing[slots] = STARTING
            self.busy += count
            self.in_flight += count
            self.pool._reset(slots)

    def receive(self) -> None:
        """Take in what a batch of slots answered; where too few are on their way, spare ones go along."""
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
        """Let observers see where an episode starts."""
        for name, observer in self.observe.items():
            self.watching[name, slot] = observer.start(_Told(info, place), self.seen[slot].copy())

    def look(self, slot: int, info: Any, place: int, reward: float) -> None:
        """Let observers see a step."""
        for name, observer in self.observe.items():
            step = Step(self.seen[slot].copy(), self.acted[slot], reward, _Told(info, place))
            self.watching[name, slot] = observer.add(self.watching[name, slot], step)

    def conclude(self, slot: int, number: int) -> None:
        """Ask observers what they saw in an episode that is over."""
        for name, observer in self.observe.items():
            self.observed[name][number] = observer.end(self.watching.pop((name, slot)))

    def begin(self, slot: int, memory: bytes) -> None:
        """Let a slot that was reset take an episode that begins as it does."""
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
        """Put a slot among those that wait for an action. What was on the screen before its start is black."""
        number = self.playing[slot]
        if self.steps[number] < self.unseen:
            self.seen[slot, : self.unseen - self.steps[number]] = 0
        self.ready.setdefault(self.episodes[number].group, []).append(slot)

    def release(self, slot: int) -> None:
        """A slot is free again; one that is there for one episode has had it."""
        self.playing[slot] = IDLE
        self.busy -= 1
        if self.starts:
            self.free.append(slot)

    def answer(self, group: int) -> None:
        """Let a group act in the slots that wait for it."""
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
        """Let a step pass in these slots."""
        self.send(np.repeat(self.nothing, len(slots), axis=0), slots)

    def send(self, actions: np.ndarray, slots: np.ndarray) -> None:
        """Give actions to the emulator."""
        self.in_flight += len(slots)
        self.pool.send(actions.astype(self.nothing.dtype), slots.astype(np.int32))
