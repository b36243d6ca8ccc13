"""Score children on machines that come and go: slices of a generation are leased to workers of a Ray cluster.

Every worker holds the parents. From one generation to the next it is told which children made the new ones, and builds
them itself, so that a generation costs bytes and not parameters. What a slice is worth depends on the source and on its
number alone: one whose worker is lost is leased again, whoever scores it, and a generation is complete or it waits.
"""

import os
import sys
import time
import warnings
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import jax
import numpy as np

from jaxga.base import Evaluation, Recipe, Source, require, require_at_least, require_whole
from jaxga.evaluate.cluster import connect, ray
from jaxga.evaluate.contract import Evaluator, Part, join
from jaxga.evaluate.wire import About, Job, Parcel, Scores, about
from jaxga.evaluate.worker import Behind, Make, Worker

PULSE = 5.0  # seconds between two questions whether a worker is alive
AHEAD = 2  # slices that a worker has at once: the next one waits there while it scores
MEMORY = 16  # generations that a worker may be behind, and still be told of instead of being sent the parents


@dataclass(eq=False)
class Hired:
    """What is known here of one worker."""

    actor: Any
    hello: Any  # a reference, until it is answered
    node: str = ""
    told: int = -1  # the generation that it has been brought to
    leases: dict[Any, tuple[int, int]] = field(default_factory=dict)  # reference -> (round, number of the job)
    pulse: Any = None  # a reference, until it is answered
    asked: float = 0.0  # when, for the pulse


@dataclass
class Tally:
    """What a pool has done so far."""

    jobs: int = 0
    lost: int = 0  # leases that ended with their worker
    workers: int = 0  # that came, over time
    silent: int = 0  # of these, that did not answer any more
    sent: int = 0  # bytes of what workers were told, without the wrapping of Ray
    received: int = 0
    node_seconds: float = 0.0


class Pool(Evaluator):
    """See `pool`."""

    on_host = True

    def __init__(self, make: Make, workers: int | None, cpus: int, gpus: float, slices: int | None, patience: float):
        self.evaluator = make()
        self.algorithm = self.evaluator.algorithm
        self.about = about(self.evaluator)
        self.wanted, self.cpus, self.patience, self.few = workers, cpus, patience, slices
        # It comes back nowhere by itself: whoever is lost is replaced here.
        remote = ray().remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0, concurrency_groups={"pulse": 1})
        self.actor, self.make = remote(Worker), _put(make)
        self.coming: list[Hired] = []
        self.here: list[Hired] = []
        self.parked: list[Hired] = []  # refused; they keep their place, so that no other one is started there
        self.refusal, self.wait_until = "", 0.0
        self.round, self.looked = 0, time.monotonic()
        self.key = b""
        self.recipes: dict[int, Recipe] = {}  # of a generation: what led from it to the next
        self.parcel: tuple[int, Any] | None = None  # a generation, and a reference to its parents
        self.tally = Tally()

    def like(self, source: Source) -> Evaluation:
        """That of what each worker has, and how many there are."""
        found = self.evaluator.like(source)
        return found._replace(metrics=dict(found.metrics) | {"workers": jax.ShapeDtypeStruct((), np.int32)})

    def children(self, source: Source, number: Any = 0, slices: int = 1) -> Evaluation:
        """All children ``[N]``; the slices are its own."""
        del number, slices
        return self._score(source, self._slices())

    def individuals(self, source: Source, indices: Any, episodes: int | None = None) -> Evaluation:
        """Each a job of its own."""
        return self._score(source, self._individuals(indices, episodes))

    def hear(self, generation: int, recipe: Recipe) -> None:
        """Take note which children of a generation made the next parents: workers are told that alone."""
        self.recipes[generation] = jax.device_get(recipe)
        self.recipes.pop(generation - MEMORY, None)

    def node_seconds(self) -> float:
        """Of nodes that had a worker."""
        return self.tally.node_seconds

    def parts(self, source: Source) -> list[Part]:
        """Those of what each worker has."""
        return self.evaluator.parts(source)

    def __call__(self, source: Source) -> Evaluation:
        """The scores ``[N + E]``, in one round."""
        elites = self.algorithm.children + np.array(self.algorithm.rescored(source), np.int32)
        return self._score(source, [*self._slices(), *self._individuals(elites, None)])

    def close(self) -> None:
        """Let all workers go."""
        for hired in [*self.coming, *self.here, *self.parked]:
            ray().kill(hired.actor)
        self.coming, self.here, self.parked = [], [], []

    def _slices(self) -> list[Job]:
        if self.few is None:  # settled once, so that a worker compiles one program
            self.few = 4 * max(self.wanted or self._room(), 1)
        count = self.evaluator.slices(self.few)
        return [("children", number, count) for number in range(count)]

    def _individuals(self, indices: Any, episodes: int | None) -> list[Job]:
        return [("individuals", np.asarray([index]), episodes) for index in np.asarray(indices)]

    def _score(self, source: Source, jobs: list[Job]) -> Evaluation:
        """All of these jobs; their scores in this order."""
        generation = self._turn_to(source)
        self.round += 1
        waiting, done = deque(range(len(jobs))), dict[int, Scores]()
        while True:
            for number, scores in self._answers(waiting):
                done[number] = scores
            if len(done) == len(jobs):
                break
            self._look_after(waiting)
            for hired in self.here:
                ahead = AHEAD if len(waiting) > len(self.here) else 1
                while waiting and len(hired.leases) < ahead:
                    number = waiting.popleft()
                    hired.leases[self._send(hired, source, generation, jobs[number])] = self.round, number
        self.tally.jobs += len(jobs)
        scores = join([done[number].evaluation() for number in range(len(jobs))])
        return scores._replace(metrics=dict(scores.metrics) | {"workers": np.int32(len(self.here))})

    def _turn_to(self, source: Source) -> int:
        """Be ready to tell of this source; what was known of another run is forgotten."""
        key = np.asarray(jax.random.key_data(source.key)).tobytes()
        if key != self.key:
            self.key, self.recipes, self.parcel = key, {}, None
            for hired in self.here:
                hired.told = -1
        return int(source.generation)

    def _send(self, hired: Hired, source: Source, generation: int, job: Job) -> Any:
        """A reference to the scores of a job, which is on its way."""
        due = range(hired.told, generation)
        parcel, recipes = None, list[Recipe]()
        if hired.told >= 0 and all(number in self.recipes for number in due):
            recipes = [self.recipes[number] for number in due]
            self.tally.sent += sum(part.nbytes for part in jax.tree.leaves(recipes))
        else:
            if self.parcel is None or self.parcel[0] != generation:
                self.parcel = generation, ray().put(Parcel.of(source))
            parcel = self.parcel[1]
        hired.told = generation
        return hired.actor.score.remote(generation, parcel, recipes, job)

    def _answers(self, waiting: deque[int]) -> list[tuple[int, Scores]]:
        """What workers have said; those who died are removed, and their jobs wait again."""
        library, found = ray(), list[tuple[int, Scores]]()
        everyone = [*self.coming, *self.here]
        asked = [ref for hired in everyone for ref in (*hired.leases, hired.hello, hired.pulse) if ref is not None]
        if not asked:
            time.sleep(0 if self.here else 0.1)  # with nobody there, there is nothing to do yet
            return found
        ready, _ = library.wait(asked, num_returns=1, timeout=0.1)
        if len(ready) < len(asked):
            ready = library.wait(asked, num_returns=len(asked), timeout=0)[0]
        answered = set(ready)
        for hired in everyone:
            mine = [ref for ref in (*hired.leases, hired.hello, hired.pulse) if ref in answered]
            for ref in mine:
                try:
                    said = library.get(ref)
                except library.exceptions.RayActorError as error:
                    self._lose(hired, waiting, error)
                    break
                except Behind:
                    hired.told = -1
                    self._again([hired.leases.pop(ref)], waiting)
                    continue
                if ref == hired.hello:
                    self._greet(hired, *said)
                elif ref == hired.pulse:
                    hired.pulse = None
                else:
                    due, number = hired.leases.pop(ref)
                    if due == self.round:
                        self.tally.received += sum(part.nbytes for part in jax.tree.leaves(said))
                        found.append((number, said))
        return found

    def _greet(self, hired: Hired, found: About, node: str) -> None:
        """Take in a worker that came, if it is one of us."""
        hired.hello, hired.node = None, node
        self.coming.remove(hired)
        if found == self.about:
            self.here.append(hired)
            self.tally.workers += 1
            return
        self.parked.append(hired)
        differs = "was made by another configuration, or from other data"
        for name in ("jax", "jaxga"):
            there, here = getattr(found, name), getattr(self.about, name)
            if there != here:
                differs = f"has {name} {there}, and this is {here}"
        self._refuse(f"a worker on {self._name(node)} {differs}: it is left out; install there what is here.")

    def _refuse(self, why: str) -> None:
        """Say it once; where nobody else is there, it ends the run."""
        if why != self.refusal:
            warnings.warn(why, RuntimeWarning, stacklevel=2)
        self.refusal = why
        require(bool(self.here or self.coming), why)

    def _lose(self, hired: Hired, waiting: deque[int], error: Exception | None = None) -> None:
        """A worker is gone, or not to be waited for: its jobs wait again, the first of all."""
        began = hired in self.here
        (self.here if began else self.coming).remove(hired)
        ray().kill(hired.actor)
        self._again(hired.leases.values(), waiting)
        self.tally.lost += len(hired.leases)
        if not began and getattr(error, "actor_init_failed", False):
            self.wait_until = time.monotonic() + 30
            self._refuse(f"a worker could not begin: {_last_line(error)}")

    def _again(self, leases: Any, waiting: deque[int]) -> None:
        waiting.extendleft(number for due, number in reversed(list(leases)) if due == self.round)

    def _look_after(self, waiting: deque[int]) -> None:
        """Once a second: let those go who do not answer, and ask for as many as there is room for."""
        now = time.monotonic()
        if now - self.looked < 1 and (self.here or self.coming):
            return
        self.tally.node_seconds += (now - self.looked) * len({hired.node for hired in self.here})
        self.looked = now
        for hired in [some for some in self.here if some.leases]:
            if hired.pulse is not None and now - hired.asked > self.patience:
                self.tally.silent += 1
                self._lose(hired, waiting)
            elif hired.pulse is None and now - hired.asked > PULSE:
                hired.pulse, hired.asked = hired.actor.pulse.options(concurrency_group="pulse").remote(), now
        if now < self.wait_until:
            return
        missing = (self.wanted or self._room() - len(self.parked)) - len(self.coming) - len(self.here)
        for _ in range(missing):
            actor = self.actor.remote(self.make, self.cpus)
            self.coming.append(Hired(actor, actor.introduce.remote()))

    def _room(self) -> int:
        """So many workers could the cluster hold now."""
        nodes = [node["Resources"].get("CPU", 0) for node in ray().nodes() if node["Alive"]]
        return sum(int(cpus // self.cpus) for cpus in nodes)

    @staticmethod
    def _name(node: str) -> str:
        return next((each["NodeManagerHostname"] for each in ray().nodes() if each["NodeID"] == node), node)


def _put(make: Make) -> Any:
    """A reference to it. What is no part of an installed package goes along: workers need not have the script."""
    library, function = ray(), make
    while isinstance(function, partial):
        function = function.func
    along = _own_modules(sys.modules[function.__module__])
    for module in along:
        library.cloudpickle.register_pickle_by_value(module)
    try:
        return library.put(make)
    finally:
        for module in along:
            library.cloudpickle.unregister_pickle_by_value(module)


def _own_modules(module: ModuleType) -> list[ModuleType]:
    """A module and those in its folder; none where it is installed. `__main__` is left out: it always goes along."""
    folder = _folder(module)
    if "site-packages" in folder or module.__name__.split(".")[0] == "jaxga":
        return []
    near = {name: other for name, other in [*sys.modules.items()] if other is module or folder == _folder(other) != ""}
    return [other for name, other in near.items() if name == other.__name__ != "__main__"]


def _folder(module: ModuleType) -> str:
    file = getattr(module, "__dict__", {}).get("__file__")
    return os.path.dirname(os.path.abspath(file)) if file else ""


def _last_line(error: Any) -> str:
    return str(error).strip().splitlines()[-1].strip()


def pool(
    make: Make,
    *,
    workers: int | None = None,
    cpus: int = 1,
    gpus: float = 0,
    slices: int | None = None,
    patience: float = 30.0,
    address: str | None = None,
) -> Pool:
    """Score children on the workers of a Ray cluster, which may come and go as they like.

    The result is that of ``make()`` alone, bit for bit, whoever scored what: slices of a lost worker are scored again
    by others, and none is dropped for being late. A worker that comes in the middle of a run is sent the parents once.

    Args:
      make: ``() -> vmapped(...)`` or ``() -> rollouts(...)``. It is called by every worker, and here.
      workers: so many are kept, and asked of the autoscaler; by default as many as the cluster has room for, now and
        later.
      cpus: cores of each worker.
      gpus: of each worker.
      slices: of a generation, about; the more, the less is lost with a worker. By default four a worker.
      patience: seconds after which a worker that does not answer is replaced.
      address: of the cluster, by default ``RAY_ADDRESS``, or one that is started on this machine.

    Raises:
      InputError: where Ray is missing or does not answer; and while it runs, where no worker has the same version of
        jaxga and JAX, or the same configuration.

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> def make():
    ...     task = jaxga.Task(lambda key: jnp.ones(3), lambda key, w: jaxga.Evaluation(-jnp.sum(w**2)))
    ...     return jaxga.vmapped(jaxga.ga(task.init, gaussian(absolute(0.1)), parents=2, children=8), task)
    >>> evaluator = pool(make, workers=2)  # doctest: +SKIP
    >>> jaxga.run(evaluator.algorithm, evaluator, generations=10).state.generation  # doctest: +SKIP
    Array(10, dtype=int32)
    """
    require_whole(1, cpus=cpus, workers=1 if workers is None else workers, slices=1 if slices is None else slices)
    require_at_least(0, gpus=gpus, patience=patience)
    connect(address)
    return Pool(make, workers, cpus, gpus, slices, patience)
