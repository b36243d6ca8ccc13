"""Score children on machines that can join and leave at any time: the workers of a Ray cluster.

A generation is divided into slices, and each slice is leased to a worker. Every worker holds the parents. For the next
generation it only receives the recipe, and builds the new parents itself, so a few bytes are sent instead of weights.
The scores of a slice depend only on the source and on the number of the slice. If a worker is lost, its slices are
leased to other workers. A generation ends when all its slices are scored.
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

PULSE = 5.0  # seconds between two checks whether a worker is alive
AHEAD = 2  # the most slices that a worker has at once: one that it scores, and one that waits
MEMORY = 16  # a worker that is at most this many generations behind gets recipes instead of the parents


@dataclass(eq=False)
class Hired:
    """What the pool knows about one worker."""

    actor: Any  # Ray's handle
    hello: Any  # reference to its introduction, until it has arrived
    node: str = ""  # the id of its node
    told: int = -1  # the generation whose parents it has; -1: none
    leases: dict[Any, tuple[int, int]] = field(default_factory=dict)  # reference -> (round, number of the job)
    pulse: Any = None  # reference to a sign of life, until it has arrived
    asked: float = 0.0  # time at which the sign of life was requested


@dataclass
class Tally:
    """What a pool has done so far."""

    jobs: int = 0  # jobs that were completed
    lost: int = 0  # leases that were lost with their worker
    workers: int = 0  # workers that joined over time
    silent: int = 0  # workers among these that stopped answering
    sent: int = 0  # bytes of the recipes that were sent, without Ray's overhead
    received: int = 0  # bytes of the scores that were received
    node_seconds: float = 0.0  # seconds for which nodes had workers, summed over nodes


class Pool(Evaluator):
    """See `pool`."""

    on_host = True

    def __init__(self, make: Make, workers: int | None, cpus: int, gpus: float, slices: int | None, patience: float):
        self.evaluator = make()
        self.algorithm = self.evaluator.algorithm
        self.about = about(self.evaluator)
        self.wanted, self.cpus, self.patience, self.few = workers, cpus, patience, slices
        # Ray must not restart a lost worker: the pool starts a new one.
        remote = ray().remote(num_cpus=cpus, num_gpus=gpus, max_restarts=0, concurrency_groups={"pulse": 1})
        self.actor, self.make = remote(Worker), _put(make)
        self.coming: list[Hired] = []
        self.here: list[Hired] = []
        self.parked: list[Hired] = []  # refused workers; they keep their place, so that none is started there again
        self.refusal, self.wait_until = "", 0.0
        self.round, self.looked = 0, time.monotonic()
        self.key = b""
        self.recipes: dict[int, Recipe] = {}  # generation -> the recipe that leads from it to the next
        self.parcel: tuple[int, Any] | None = None  # a generation, and a reference to its parents
        self.tally = Tally()

    def like(self, source: Source) -> Evaluation:
        """Shapes of the workers' scores, and of the metric ``workers``, their number."""
        found = self.evaluator.like(source)
        return found._replace(metrics=dict(found.metrics) | {"workers": jax.ShapeDtypeStruct((), np.int32)})

    def children(self, source: Source, number: Any = 0, slices: int = 1) -> Evaluation:
        """The scores ``[N]`` of all children. The pool chooses the slices itself; the arguments are ignored."""
        del number, slices
        return self._score(source, self._slices())

    def individuals(self, source: Source, indices: Any, episodes: int | None = None) -> Evaluation:
        """The scores of these individuals, each of which is a separate job."""
        return self._score(source, self._individuals(indices, episodes))

    def hear(self, generation: int, recipe: Recipe) -> None:
        """Receive the recipe of a generation, which is sent to the workers instead of the next parents."""
        self.recipes[generation] = jax.device_get(recipe)
        self.recipes.pop(generation - MEMORY, None)

    def node_seconds(self) -> float:
        """Seconds for which nodes had workers, summed over nodes."""
        return self.tally.node_seconds

    def parts(self, source: Source) -> list[Part]:
        """The parts of each worker's evaluator."""
        return self.evaluator.parts(source)

    def __call__(self, source: Source) -> Evaluation:
        """The scores ``[N + E]``, in one round."""
        elites = self.algorithm.children + np.array(self.algorithm.rescored(source), np.int32)
        return self._score(source, [*self._slices(), *self._individuals(elites, None)])

    def close(self) -> None:
        """End all workers."""
        for hired in [*self.coming, *self.here, *self.parked]:
            ray().kill(hired.actor)
        self.coming, self.here, self.parked = [], [], []

    def _slices(self) -> list[Job]:
        if self.few is None:  # chosen once, so that a worker compiles one program
            self.few = 4 * max(self.wanted or self._room(), 1)
        count = self.evaluator.slices(self.few)
        return [("children", number, count) for number in range(count)]

    def _individuals(self, indices: Any, episodes: int | None) -> list[Job]:
        return [("individuals", np.asarray([index]), episodes) for index in np.asarray(indices)]

    def _score(self, source: Source, jobs: list[Job]) -> Evaluation:
        """Complete all of these jobs, and return their scores in this order."""
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
        """Prepare to send this source. If it belongs to another run, forget what was sent before."""
        key = np.asarray(jax.random.key_data(source.key)).tobytes()
        if key != self.key:
            self.key, self.recipes, self.parcel = key, {}, None
            for hired in self.here:
                hired.told = -1
        return int(source.generation)

    def _send(self, hired: Hired, source: Source, generation: int, job: Job) -> Any:
        """Send a job to a worker, with what it needs to make the parents; returns a reference to the scores."""
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
        """The scores that have arrived. Workers that died are removed, and their jobs wait again."""
        library, found = ray(), list[tuple[int, Scores]]()
        everyone = [*self.coming, *self.here]
        asked = [ref for hired in everyone for ref in (*hired.leases, hired.hello, hired.pulse) if ref is not None]
        if not asked:
            time.sleep(0 if self.here else 0.1)  # without workers there is nothing to do yet
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
        """Accept a worker that has introduced itself, if its versions and programs are the same as here."""
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
        """Warn once that a worker is refused. If no other workers are there or coming, raise an error."""
        if why != self.refusal:
            warnings.warn(why, RuntimeWarning, stacklevel=2)
        self.refusal = why
        require(bool(self.here or self.coming), why)

    def _lose(self, hired: Hired, waiting: deque[int], error: Exception | None = None) -> None:
        """Remove a worker that has died or does not answer. Its jobs wait again, before all others."""
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
        """Once a second: remove workers that do not answer, and start as many as there is room for."""
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
        """The number of workers that the cluster has room for now."""
        nodes = [node["Resources"].get("CPU", 0) for node in ray().nodes() if node["Alive"]]
        return sum(int(cpus // self.cpus) for cpus in nodes)

    @staticmethod
    def _name(node: str) -> str:
        return next((each["NodeManagerHostname"] for each in ray().nodes() if each["NodeID"] == node), node)


def _put(make: Make) -> Any:
    """Send ``make`` to Ray, together with modules that are not installed; workers need not have the script."""
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
    """A module and others from its folder; none if it is installed. Ray sends `__main__` anyway, so it is left out."""
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
    """Score children on the workers of a Ray cluster, which can join and leave at any time.

    The result is the same as that of ``make()`` in one process, bit for bit. The slices of a lost worker are scored
    again by others, and no slice is dropped for being late. A worker that joins during a run is sent the parents once.

    Args:
      make: ``() -> vmapped(...)`` or ``() -> rollouts(...)``. It is called in every worker and in this process.
      workers: number of workers, which the pool requests from the autoscaler and keeps up. By default as many as the
        cluster has room for, also when it grows.
      cpus: cores of each worker, by default 1.
      gpus: GPUs of each worker, by default 0.
      slices: approximate number of slices of a generation, by default four for each worker. With more slices, less work
        is lost with a worker.
      patience: seconds after which a worker that does not answer is replaced, by default 30.
      address: of the cluster, by default ``RAY_ADDRESS``; without either, a cluster is started on this machine.

    Raises:
      InputError: if Ray is missing or does not answer; later, if no worker has the same versions of jaxga and JAX, or
        the same configuration.

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
