"""Run an algorithm: compiled blocks of generations, stop rules, files, checkpoints, and a clean way out."""

import contextlib
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from types import FrameType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga import checkpoint, pedigree
from jaxga.algorithm import shape_of_state
from jaxga.base import (
    PLAYED,
    STEPS,
    Algorithm,
    Evaluation,
    Evaluator,
    Individual,
    Info,
    Key,
    Params,
    State,
    Task,
    as_fitness,
    as_key,
    require,
    require_at_least,
)
from jaxga.compilation import jit
from jaxga.devices import Devices, chosen, on_one
from jaxga.distributed import agreed, is_first
from jaxga.evaluate import sharded, vmapped, worth_sharing
from jaxga.pedigree import Pedigree
from jaxga.report.files import RunDirectory, write_json
from jaxga.report.progress import Silence
from jaxga.stop import Stop, never
from jaxga.tree import take, where

BLOCK = 64  # generations that one dispatch can record
DISPATCH_SECONDS = 1.0  # a dispatch is kept about this short, so that a signal is heard soon


class Result(NamedTuple):
    """What `run` returns."""

    state: State
    pedigree: Pedigree
    history: dict[str, np.ndarray]  # [G] each: generation, fitness, best_fitness, seconds, ...
    stopped_because: str
    seconds: float  # of wall-clock, over all sittings

    @property
    def best(self) -> Individual:
        """The best parent of the last generation, dense. (`pedigree.individual` builds any other.)"""
        require(self.state.parents is not None, "there is no best individual: no generation was completed.")
        return take(self.state.parents, 0)

    @property
    def interrupted(self) -> bool:
        """Was the run told to stop by a signal?"""
        return self.stopped_because.startswith("interrupted")

    @property
    def failed(self) -> bool:
        """Did the run stop because no child had a fitness?"""
        return self.stopped_because.startswith("every fitness")

    def summary(self) -> dict[str, Any]:
        """The figures of summary.json."""
        evaluations = int(self.history["evaluations"][-1]) if self.history else 0
        return {
            "generations": int(self.state.generation),
            "evaluations": evaluations,
            "best_fitness": float(self.state.best_fitness),
            "wall_seconds": round(self.seconds, 3),
            "evaluations_per_second": round(evaluations / self.seconds, 1) if self.seconds else 0.0,
            "backend": jax.default_backend(),
            "stopped_because": self.stopped_because,
        }


Hook = Callable[[State, list[dict[str, Any]]], None]


class Interrupted(KeyboardInterrupt):
    """A signal came while a generation was being played on the host."""


class Interrupt:
    """Within this context SIGINT and SIGTERM ask for a stop; a second one stops at once.

    So does the first, within `leaving`.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._old: dict[int, Any] = {}
        self._leaves = False

    def __enter__(self) -> "Interrupt":
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._old[number] = signal.signal(number, self._ask)
            except ValueError:  # not the main thread: whoever owns it decides
                break
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        if self._leaves:
            raise Interrupted

    @contextlib.contextmanager
    def leaving(self, leaves: bool) -> Iterator[None]:
        """Do not wait for what is being done here, if it ``leaves`` nothing behind: what is not done is done again."""
        self._leaves = leaves
        try:
            with contextlib.suppress(Interrupted):
                yield
        finally:
            self._leaves = False

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)


class Program(NamedTuple):
    """All that is compiled into a run. A value, so that equal runs share one program."""

    algorithm: Algorithm
    evaluator: Evaluator
    stop: Stop = never
    validate: Callable[[Params], Evaluation] | None = None
    validate_every: int = 1

    @property
    def on_host(self) -> bool:
        """Are children scored outside of JAX, a generation at a time?"""
        return getattr(self.evaluator, "on_host", False)


def generation(program: Program, state: State, number: Any) -> tuple[State, Info, jax.Array]:
    """Generation ``number``, and whether any child had a fitness. Where none had, the state stays as it is.

    ``number`` equals ``state.generation``, but does not depend on what was scored: under vmap a validation that is
    not due is then left out, instead of being computed and thrown away.
    """
    return settle(program, state, program.evaluator(state), number)


def settle(program: Program, state: State, evaluation: Evaluation, number: Any) -> tuple[State, Info, jax.Array]:
    """What a generation with these scores leads to."""
    algorithm = program.algorithm
    info = algorithm.select(state, evaluation)
    valid = info.metrics["nan"] < algorithm.children
    after = algorithm.advance(state, info.survivors)
    if state.parents is not None:
        key = state.key
        after = where(valid, after._replace(key=()), state._replace(key=()))._replace(key=key)
    return after, info._replace(metrics=info.metrics | _validation(program, after, number + 1)), valid


def _validation(program: Program, state: State, done: Any) -> dict[str, jax.Array]:
    """How the best parent does on what it was never scored on; NaN in the generations between."""
    if program.validate is None:
        return {}
    measure = partial(_measure, program.validate)
    params = take(state.parents, 0).params
    nothing = jax.tree.map(lambda leaf: jnp.full(leaf.shape, jnp.nan), jax.eval_shape(measure, params))
    return jax.lax.cond(done % program.validate_every == 0, measure, lambda _: nothing, params)


def _measure(validate: Callable[[Params], Evaluation], params: Params) -> dict[str, jax.Array]:
    score = as_fitness(validate(params))
    metrics = {f"validation_{name}": value.astype(jnp.float32) for name, value in dict(score.metrics or {}).items()}
    return metrics | {BEST_VALIDATION: score.fitness}


def _first(program: Program, state: State) -> tuple[State, Info, jax.Array]:
    """Generation 0 of founders that are drawn afresh."""
    return _one(program, state, program.evaluator(state))


def _one(program: Program, state: State, evaluation: Evaluation) -> tuple[State, Info, jax.Array]:
    after, info, valid = settle(program, state, evaluation, state.generation)
    return after, jax.tree.map(lambda leaf: leaf[None], info), valid


def block(program: Program, state: State, limit: jax.Array) -> tuple[State, Info, jax.Array, jax.Array]:
    """Up to ``limit`` generations in one program; its result does not depend on where blocks begin and end."""
    _, info, _ = jax.eval_shape(partial(generation, program), state, state.generation)
    infos = jax.tree.map(lambda leaf: jnp.zeros((BLOCK, *leaf.shape), leaf.dtype), info)

    def going(carry: Any) -> jax.Array:
        _, _, count, valid, done = carry
        return (count < limit) & valid & ~done

    def body(carry: Any) -> Any:
        state, infos, count, _, _ = carry
        state, info, valid = generation(program, state, state.generation)
        infos = jax.tree.map(lambda all, one: all.at[count].set(one), infos, info)
        return state, infos, count + valid.astype(jnp.int32), valid, program.stop(state, info.metrics)

    start = state, infos, jnp.int32(0), jnp.bool_(True), jnp.bool_(False)
    return jax.lax.while_loop(going, body, start)[:4]


class _Sitting:
    """One sitting of a run: the state, everything recorded so far, and the clock over all sittings."""

    def __init__(self, algorithm: Algorithm, root: Key, directory: RunDirectory | None):
        self.state: State = jax.jit(algorithm.init)(root)
        self.history: dict[str, np.ndarray] = {}
        self.survivors: Any = None
        self.directory, self.root, self.before = directory, root, 0.0
        self.children = algorithm.children
        saved = directory and self._saved(directory, shape_of_state(algorithm, root))
        if directory and saved:
            same = (jax.random.key_data(saved.state.key) == jax.random.key_data(root)).all()
            require(bool(same), f"key is not that of the run in {directory.path}: resume it with its own.")
            self.state, self.history, self.survivors = saved.state, saved.history, saved.survivors
            self.before = saved.seconds
        self.started = self.saved = time.monotonic()

    @staticmethod
    def _saved(directory: RunDirectory, like: State) -> checkpoint.Checkpoint | None:
        found = checkpoint.found_by_first(directory.checkpoints, like)
        message = f"{directory.path} holds a run already: open it with resume, or choose another."
        require(directory.resume or found is None, message)
        return found

    @property
    def config(self) -> dict[str, Any]:
        """That of the directory, if there is one."""
        return self.directory.config if self.directory else {}

    @property
    def seconds(self) -> float:
        """Of wall-clock, over all sittings."""
        return self.before + time.monotonic() - self.started

    @property
    def generations(self) -> int:
        """G so far."""
        return len(self.history.get("generation", ()))

    def add(self, infos: Info, count: int, begun: float) -> list[dict[str, Any]]:
        """Append ``count`` generations that took from ``begun`` until now; returns their records."""
        infos = jax.tree.map(lambda leaf: np.asarray(leaf)[:count], jax.device_get(infos))
        scored, taken, first = infos.metrics["evaluations"], self.seconds - begun, self.generations
        best, evaluations = (self.history[name][-1] if first else start for name, start in _START.items())
        columns = {
            "generation": np.arange(first, first + count),
            "best_fitness": np.maximum.accumulate(np.fmax(infos.metrics["fitness"], best)),
            **infos.metrics,
            **self._best_validation(infos.metrics, first),
            "evaluations": evaluations + np.cumsum(scored, dtype=np.int64),
            "seconds": begun + taken * np.arange(1, count + 1) / count,
            "evaluations_per_second": np.full(count, scored.sum() / max(taken, 1e-9)),
        }
        for name in {STEPS, PLAYED} & set(columns):
            before = self.history[name][-1] if first else 0
            columns[name] = before + np.cumsum(columns[name], dtype=np.int64)
        self.history = _append(self.history, columns)
        self.survivors = jax.tree.map(_join, self.survivors, infos.survivors) if first else infos.survivors
        return [{name: values[row].item() for name, values in columns.items()} for row in range(count)]

    def _best_validation(self, metrics: Mapping[str, Any], first: int) -> dict[str, np.ndarray]:
        """The best so far of what every generation measured, if it did."""
        if BEST_VALIDATION not in metrics:
            return {}
        before = self.history[BEST_VALIDATION][-1] if first else np.float32(np.nan)
        return {BEST_VALIDATION: np.fmax.accumulate(np.append(before, metrics[BEST_VALIDATION]))[1:]}

    @property
    def last(self) -> dict[str, Any]:
        """The metrics of the last generation; none before the first."""
        return {name: values[-1] for name, values in self.history.items()}

    def save(self) -> None:
        """Write a checkpoint, if there is somewhere to write it and something to keep."""
        self.saved = time.monotonic()
        if self.directory and self.generations and is_first():
            kept = checkpoint.Checkpoint(on_one(self.state), self.survivors, self.history, self.config, self.seconds)
            checkpoint.save(self.directory.checkpoints, kept)

    def finish(self, reason: str) -> Result:
        """The result, with its files where there is a directory."""
        record = Pedigree(self.root, self.survivors, self.config, self.children)
        result = Result(on_one(self.state), record, self.history, reason, self.seconds)
        self.save()
        if self.directory and self.generations and is_first():
            pedigree.save(record, self.directory.path / "pedigree.npz")
            head = {"name": self.config["name"], "seed": self.config["arguments"].get("seed")}
            write_json(self.directory.path / "summary.json", head | result.summary())
        return result


BEST_VALIDATION = "best_validation"
_START = {"best_fitness": -np.inf, "evaluations": 0}


def _join(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.concatenate([old, new])


def _append(history: dict[str, np.ndarray], columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Longer columns; one that begins late (step sizes of founders that had none) is NaN before."""
    rows = len(history.get("generation", ()))
    return {
        name: _join(history.get(name, np.full(rows, np.nan, np.float32)), values) if rows else values
        for name, values in columns.items()
    }


@lru_cache(maxsize=64)
def _compiled(function: Callable[..., Any], program: Program) -> Callable[..., Any]:
    return jit(partial(function, program), getattr(program.evaluator, "mesh", None))


def _dispatch(program: Program, state: State, limit: int) -> tuple[State, Info, int, bool]:
    """Up to ``limit`` generations on the device: state, infos, how many there were, and whether the last one counts."""
    if state.parents is not None and not program.on_host:
        state, infos, count, valid = _compiled(block, program)(state, np.int32(limit))
        return state, infos, int(count), bool(valid)
    if program.on_host:
        after, info, valid = _compiled(_one, program)(state, program.evaluator(state))
        if valid and hasattr(program.evaluator, "hear"):
            program.evaluator.hear(int(state.generation), take(info.survivors, 0))
    else:
        after, info, valid = _compiled(_first, program)(state)
    return (after if valid else state), info, int(valid), bool(valid)


def evaluator_of(
    algorithm: Algorithm, task: Task, chunk: int | None = None, devices: Devices | None = None
) -> Evaluator:
    """That of all devices, where there are several, and more than one chunk to be shared."""
    evaluator, devices = vmapped(algorithm, task, chunk), chosen(devices)
    return sharded(evaluator, devices) if worth_sharing(evaluator, len(devices)) else evaluator


def _next_limit(count: int, taken: float) -> int:
    """So many generations as take about DISPATCH_SECONDS, at most 4 times as many as last time."""
    return int(np.clip(min(DISPATCH_SECONDS * count / max(taken, 1e-9), 4 * count), 1, BLOCK))


def _why_stop(
    sitting: _Sitting, stop: Stop, generations: int, seconds: float, steps: float, interrupt: Interrupt
) -> str:
    """The reason to stop now, or nothing."""
    if stop(sitting.state, sitting.last):
        return stop.explain(sitting.state, sitting.last)
    if sitting.generations >= generations:
        return f"all {generations} generations done"
    if sitting.generations and sitting.seconds >= seconds:
        return f"{seconds:g} seconds are over"
    if sitting.last.get(STEPS, 0) >= steps:
        return f"{steps:,.0f} agent steps are used up"
    return f"interrupted by {interrupt.signal.name}" if interrupt.signal else ""


def _together(reason: str, limit: int, interrupt: Interrupt) -> tuple[str, int]:
    """The same for all processes: the first one's clock counts, and a signal to any of them."""
    if jax.process_count() == 1:
        return reason, limit
    votes = agreed(bool(reason), interrupt.signal or 0, limit)
    told = int(votes[:, 1].max())
    if not reason and told:
        reason = f"interrupted by {signal.Signals(told).name}"
    return (reason or "the first process stopped") if votes[0, 0] or told else "", int(votes[0, 2])


def run(
    algorithm: Algorithm,
    task: Task | Evaluator,
    key: Key | int = 0,
    *,
    generations: int,
    stop: Stop = never,
    seconds: float = float("inf"),
    steps: float = float("inf"),
    chunk: int | None = None,
    devices: Devices | None = None,
    evaluator: Evaluator | None = None,
    validate_every: int = 1,
    directory: RunDirectory | None = None,
    checkpoint_seconds: float = 30.0,
    progress: Silence | None = None,
    hooks: Sequence[Hook] = (),
) -> Result:
    """Evolve until ``generations``, a stop rule, ``seconds`` of wall-clock, or a signal.

    The result does not depend on where a run was interrupted, or on how generations were put together in a dispatch:
    resumed equals never stopped, bit for bit. Of many processes (`jaxga.distributed`) all run the same, and the first
    one writes; a signal to any of them stops all.

    Args:
      algorithm: from `jaxga.ga`.
      task: a `Task`, scored by `vmapped`, or an evaluator of one's own.
      key: root key or seed; everything random is derived from it.
      generations: the run ends after this many, earlier sittings counted in.
      stop: `jaxga.stop.target`, `no_improvement`, `any_of`.
      seconds: of wall-clock, earlier sittings counted in; one generation is always run.
      steps: of agents, earlier sittings counted in; of an evaluator that counts ``agent_steps``, as `jaxga.rollouts`.
      chunk: children scored at once, see `vmapped`.
      devices: that share the children, see `jaxga.sharded`; by default all. The result is the same.
      evaluator: scores the children of the task in another way, as `jaxga.pool` does.
      validate_every: generations from one `Task.validate` of the best parent to the next; it is NaN between.
      directory: where metrics, checkpoints, pedigree and summary go; it also says whether to resume.
      checkpoint_seconds: between checkpoints. One is always written at the end.
      progress: `jaxga.report.Progress` shows a bar; the default shows nothing.
      hooks: each is called with (state, records) after every dispatch.

    Raises:
      InputError: for sizes that do not fit, or a damaged checkpoint.

    Warns:
      RuntimeWarning: where all children of a generation score NaN: the run stops with the last good parents.

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> task = jaxga.Task(lambda key: jnp.ones(3), lambda key, w: jaxga.Evaluation(-jnp.sum(w**2)))
    >>> algorithm = jaxga.ga(task.init, gaussian(absolute(0.1)), parents=2, children=16)
    >>> result = run(algorithm, task, generations=50)
    >>> bool(result.state.best_fitness > -0.1), result.stopped_because
    (True, 'all 50 generations done')
    """
    require_at_least(1, generations=generations, validate_every=validate_every)
    require_at_least(0, seconds=seconds, steps=steps)
    if isinstance(task, Task):
        scored = evaluator or evaluator_of(algorithm, task, chunk, devices)
        program = Program(algorithm, scored, stop, task.validate, validate_every)
    else:
        program = Program(algorithm, task, stop)
    sitting = _Sitting(algorithm, as_key(key), directory)
    sinks = [sink for sink in (directory, progress) if sink and is_first()]
    limit, failure = 1, ""
    with Interrupt() as interrupt, contextlib.ExitStack() as stack:
        for sink in sinks:
            stack.callback(sink.close)
            sink.start(sitting.generations, generations)
        while True:
            reason = failure or _why_stop(sitting, stop, generations, seconds, steps, interrupt)
            reason, limit = _together(reason, limit, interrupt)
            if reason:
                break
            begun = sitting.seconds
            dispatched = min(limit, generations - sitting.generations)
            played = None
            with interrupt.leaving(program.on_host and jax.process_count() == 1):
                played = _dispatch(program, sitting.state, dispatched)
            if played is None:  # left in the middle of a generation, which a resumed run plays again
                continue
            sitting.state, infos, count, valid = played
            records = sitting.add(infos, count, begun) if count else []
            for sink in sinks if records else ():
                sink.write(records)
            for hook in hooks if records else ():
                hook(sitting.state, records)
            if not valid:
                failure = f"every fitness of generation {sitting.generations} is NaN"
                warnings.warn(f"{failure}: the run stopped with the parents before it.", RuntimeWarning, stacklevel=2)
            limit = _next_limit(count, sitting.seconds - begun)
            if time.monotonic() - sitting.saved > checkpoint_seconds:
                sitting.save()
        return sitting.finish(reason)
