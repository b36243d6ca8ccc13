"""Run an algorithm: compiled blocks of generations, stop rules, files, checkpoints, and signals."""

import contextlib
import os
import signal
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga import checkpoint, pedigree
from jaxga.algorithm import nobody, shape_of_source, shape_of_state
from jaxga.base import (
    Algorithm,
    Evaluation,
    Individual,
    Info,
    Key,
    Params,
    Recipe,
    Source,
    State,
    Task,
    Verdict,
    as_evaluation,
    as_key,
    configured,
    name_of,
    require,
    require_at_least,
    require_whole,
)
from jaxga.compilation import jit
from jaxga.devices import Devices, chosen, on_one
from jaxga.distributed import agreed, is_first
from jaxga.doubts import Doubts, warn_of_inherited
from jaxga.evaluate import PLAYED, STEPS, Evaluator, as_evaluator, sharded, vmapped, worth_sharing
from jaxga.evaluate.fingerprint import describe_run
from jaxga.measures import as_columns, merged
from jaxga.pedigree import Pedigree
from jaxga.report.files import RunDirectory, write_json
from jaxga.report.progress import Silence
from jaxga.scores import of_founders
from jaxga.signals import Interrupt, pass_on
from jaxga.stop import Stop, never
from jaxga.tree import take, where

BLOCK = 64  # the most generations in one dispatch
BEST_VALIDATION = "best_validation"
ADDED = {"generation", "best_fitness", BEST_VALIDATION, "seconds", "evaluations_per_second"}  # columns of every run
DISPATCH_SECONDS = 1.0  # the aimed duration of a dispatch: a signal is handled only between two dispatches


class Ended(Enum):
    """Why a run ended."""

    GENERATIONS = "all of them are done"
    RULE = "a stop rule was met"
    TIME = "its seconds are over"
    STEPS = "its agent steps are used up"
    SIGNAL = "it was interrupted"
    NO_FITNESS = "no child had a fitness"


class Result(NamedTuple):
    """What `run` returns. Where a run was resumed, all figures include what was done before."""

    state: State  # after the last generation
    pedigree: Pedigree  # which children became parents, for exact replay
    history: dict[str, np.ndarray]  # [G] each: generation, fitness (of this generation), best_fitness (so far), ...
    stopped_because: str  # in words
    seconds: float  # wall-clock
    ended: Ended  # the same as stopped_because, as an enumeration
    algorithm: Algorithm  # that was run

    @property
    def generations(self) -> int:
        """The number of generations, including those before the run was resumed."""
        return len(self.history.get("generation", ()))

    @property
    def best(self) -> Individual:
        """The best parent after the last generation, with dense weights.

        If children are averaged (``ga(recombination=...)``), it is a mean of children, which the run has not scored.
        `best_ever` is an individual that was scored.

        Raises:
          InputError: if no generation was completed.
        """
        require(self.generations > 0, "there is no best individual: no generation was completed.")
        return best_parent(self.algorithm, self.state)

    @property
    def best_ever(self) -> Individual:
        """The individual with the best fitness of all generations, with dense weights. Its score is ``best_fitness``.

        It is replayed from the pedigree. The replay builds T children for each generation, and scores none.

        Raises:
          InputError: if no child has had a fitness.
        """
        born, index = int(self.state.best.generation), int(self.state.best.index)
        require(born >= 0, "there is no best individual: no child has had a fitness.")
        return pedigree.individual(self.algorithm, self.pedigree, born, index)

    @property
    def interrupted(self) -> bool:
        """Was the run stopped by a signal?"""
        return self.ended is Ended.SIGNAL

    @property
    def failed(self) -> bool:
        """Did the run stop because no child had a fitness?"""
        return self.ended is Ended.NO_FITNESS

    def summary(self) -> dict[str, Any]:
        """The figures that are written to summary.json."""
        evaluations = int(self.history["evaluations"][-1]) if self.history else 0
        return {
            "generations": self.generations,
            "evaluations": evaluations,
            "best_fitness": float(self.state.best_fitness),
            "wall_seconds": round(self.seconds, 3),
            "evaluations_per_second": round(evaluations / self.seconds, 1) if self.seconds else 0.0,
            "backend": jax.default_backend(),
            "stopped_because": self.stopped_because,
        }


Hook = Callable[[State, list[dict[str, Any]]], None]


class Program(NamedTuple):
    """All that is compiled into a run. It is hashable: equal runs of an algorithm share one compiled program."""

    algorithm: Algorithm
    evaluator: Evaluator
    stop: Stop = never
    validate: Callable[[Params], Evaluation] | None = None
    validate_every: int = 1

    @property
    def score(self) -> Callable[[Source], Evaluation]:
        """The evaluator, traced only once. An evaluator on the host is called as it is."""
        if self.evaluator.on_host:
            return self.evaluator
        return self.algorithm.remembered(("score", self.evaluator), lambda: jax.jit(self.evaluator, inline=True))

    def like(self) -> Evaluation:
        """Shapes of the scores of a generation."""
        source = shape_of_source(self.algorithm)
        return self.evaluator.like(source) if self.evaluator.on_host else jax.eval_shape(self.score, source)

    def begin(self, root: Key) -> State:
        """The first state of a run."""
        state = self.algorithm.init(root, self.like())
        return state if self.evaluator.on_host else self.with_scored_founders(state)

    def with_scored_founders(self, state: State) -> State:
        """The same state with the scores of its parents, if the algorithm has ``score_founders``."""
        if not self.algorithm.score_founders:
            return state
        slots = self.algorithm.children + np.arange(self.algorithm.parents, dtype=np.int32)
        return of_founders(state, self.evaluator.individuals(state.source, slots))

    def shape_of_state(self) -> State:
        """Shapes and pytree structure of a state whose children have parents."""
        return shape_of_state(self.algorithm, self.like())


def best_parent(algorithm: Algorithm, state: State) -> Individual:
    """The parent in `best_slot`."""
    return take(state.parents, best_slot(algorithm.selection.ordered, state.fitness))


def best_slot(ordered: bool, fitness: jax.Array) -> Any:
    """The first slot if the selection puts the best parent there, else the slot of the best ``fitness [T]``."""
    return 0 if ordered else jnp.argmax(jnp.where(jnp.isnan(fitness), -jnp.inf, fitness))


def generation(program: Program, state: State, number: Any) -> tuple[State, Info, jax.Array]:
    """Compute generation ``number``: next state, record, and `Verdict`. Unless it is FINE, the state does not change.

    ``number`` equals ``state.generation``, but must not depend on scores. Under ``vmap`` it is then the same for all
    runs, and a validation that is not due is skipped instead of computed and discarded.
    """
    return settle(program, state, program.score(state.source), number)


def settle(program: Program, state: State, evaluation: Evaluation, number: Any) -> tuple[State, Info, jax.Array]:
    """The next state, the record and the verdict of a generation with these scores.

    Args:
      program: of the run.
      state: of the generation.
      evaluation: the scores of its children.
      number: of the generation, see `generation`.
    """
    algorithm = program.algorithm
    decided, info = algorithm.select(state, evaluation)
    if state.founding:
        after = decided._replace(source=algorithm.advance(state.source, info.recipe))
    else:
        fine = info.verdict == Verdict.FINE
        decided = where(fine, decided._replace(source=()), state._replace(source=()))
        after = decided._replace(source=_advanced(algorithm, state.source, info.recipe, fine))
    clash = sorted(ADDED & info.metrics.keys())
    require(not clash, f"the metrics {clash} have names that every run logs: rename them.")
    metrics = merged(("each generation", info.metrics), ("the validation", _validation(program, after, number + 1)))
    return after, info._replace(metrics=metrics), info.verdict


def _advanced(algorithm: Algorithm, source: Source, recipe: Recipe, fine: jax.Array) -> Source:
    """The next source, or the same one if a generation is not fine."""
    if recipe.step is not None:
        return where(fine, algorithm.advance(source, recipe), source)
    # A recipe that keeps all parents needs one pass over the parents less than choosing between old and new ones.
    stay = algorithm.children + jnp.arange(algorithm.parents, dtype=jnp.int32)
    after = algorithm.advance(source, recipe._replace(indices=jnp.where(fine, recipe.indices, stay[:, None])))
    small = where(fine, after._replace(parents=()), source._replace(parents=()))
    return small._replace(parents=after.parents)


def _validation(program: Program, state: State, done: Any) -> dict[str, jax.Array]:
    """`Task.validate` of the best parent; NaN in generations in which no validation is due."""
    if program.validate is None:
        return {}
    measure = partial(_measure, program.validate)
    params = best_parent(program.algorithm, state).params
    nothing = jax.tree.map(lambda leaf: jnp.full(leaf.shape, jnp.nan, leaf.dtype), jax.eval_shape(measure, params))
    return jax.lax.cond(done % program.validate_every == 0, measure, lambda _: nothing, params)


def _measure(validate: Callable[[Params], Evaluation], params: Params) -> dict[str, jax.Array]:
    score = as_evaluation(validate(params), f"validate ({name_of(validate)})")
    metrics = {f"validation_{name}": value.astype(jnp.float32) for name, value in dict(score.metrics or {}).items()}
    return as_columns(metrics) | {BEST_VALIDATION: score.fitness}


def _first(program: Program, state: State) -> tuple[State, Info, jax.Array]:
    """Generation 0 if its children are initialised without parents."""
    return _one(program, state, program.score(state.source))


def _one(program: Program, state: State, evaluation: Evaluation) -> tuple[State, Info, jax.Array]:
    after, info, verdict = settle(program, state, evaluation, state.generation)
    return after, jax.tree.map(lambda leaf: leaf[None], info), verdict


def block(program: Program, state: State, limit: jax.Array) -> tuple[State, Info, jax.Array, jax.Array]:
    """Up to ``limit`` generations in one program. The result does not depend on how generations are cut into blocks."""
    step = jax.jit(partial(generation, program), inline=True)  # traced once, for its shapes and for the loop
    _, info, _ = jax.eval_shape(step, state, state.generation)
    infos = jax.tree.map(lambda leaf: jnp.zeros((BLOCK, *leaf.shape), leaf.dtype), info)

    def going(carry: Any) -> jax.Array:
        _, _, count, verdict, done = carry
        return (count < limit) & (verdict == Verdict.FINE) & ~done

    def body(carry: Any) -> Any:
        state, infos, count, _, _ = carry
        state, info, verdict = step(state, state.generation)
        infos = jax.tree.map(lambda all, one: all.at[count].set(one), infos, info)
        count = count + (verdict == Verdict.FINE).astype(jnp.int32)
        return state, infos, count, verdict, program.stop(state, info.metrics)

    start = state, infos, jnp.int32(0), jnp.int32(Verdict.FINE), jnp.bool_(False)
    return jax.lax.while_loop(going, body, start)[:4]


class _Sitting:
    """One process's part of a run that may be resumed: the state, all records so far, and the clock over all parts."""

    def __init__(
        self, algorithm: Algorithm, root: Key, directory: RunDirectory | None, start: State | None, program: Program
    ):
        self.history: dict[str, np.ndarray] = {}
        self.recorded: list[tuple[Any, Any]] = []  # recipes, and fitness of the parents that they made
        self.directory, self.root, self.before = directory, root, 0.0
        self.algorithm, self.start = algorithm, None if start is None else pedigree.as_start(start.source)
        self.started = self.saved = time.monotonic()
        saved = self._saved(program) if directory else None
        if directory and saved:
            same = (jax.random.key_data(saved.state.key) == jax.random.key_data(root)).all()
            require(bool(same), f"key is not that of the run in {directory.path}: resume it with its own.")
            self.state, self.history = saved.state, saved.history
            self.recorded = [(saved.recipes, saved.fitness)]
            self.before, self.start = saved.seconds, saved.start
        else:
            self.state: State = self._first(program) if start is None else start

    def _first(self, program: Program) -> State:
        state = jit(program.begin)(self.root)
        return program.with_scored_founders(state) if program.evaluator.on_host else state

    def _saved(self, program: Program) -> checkpoint.Checkpoint | None:
        directory = self.directory
        assert directory is not None
        directory.made_with(describe_run(self.algorithm, program.evaluator, self.start))
        found = checkpoint.found_by_first(directory.checkpoints, program.shape_of_state())
        message = f"{directory.path} holds a run already: open it with resume, or choose another."
        require(directory.resume or found is None, message)
        return found

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the directory, if there is one."""
        return self.directory.config if self.directory else {}

    @property
    def seconds(self) -> float:
        """Wall-clock seconds, including those before the run was resumed."""
        return self.before + time.monotonic() - self.started

    @property
    def generations(self) -> int:
        """The number of generations so far."""
        return len(self.history.get("generation", ()))

    @property
    def whole(self) -> bool:
        """Does the state belong to the last recorded generation? It does not while a generation is being added."""
        return int(self.state.generation) == self.history.get("generation", np.array([-1]))[-1] + 1

    def add(self, infos: Info, count: int, begun: float) -> list[dict[str, Any]]:
        """Append ``count`` generations, which took from ``begun`` until now, and return their records."""
        infos = jax.tree.map(lambda leaf: np.asarray(leaf)[:count], jax.device_get(infos))
        scored, taken, first = infos.metrics["evaluations"], self.seconds - begun, self.generations
        number = int(self.state.generation) - count
        best, evaluations = (self.history[name][-1] if first else start for name, start in _START.items())
        columns = {
            "generation": np.arange(number, number + count),
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
        self.recorded.append((infos.recipe, infos.fitness))
        return [{name: values[row].item() for name, values in columns.items()} for row in range(count)]

    def _best_validation(self, metrics: Mapping[str, Any], first: int) -> dict[str, np.ndarray]:
        """The best validation so far, for each new generation; nothing if the task has no validation."""
        if BEST_VALIDATION not in metrics:
            return {}
        before = self.history[BEST_VALIDATION][-1] if first else np.float32(np.nan)
        return {BEST_VALIDATION: np.fmax.accumulate(np.append(before, metrics[BEST_VALIDATION]))[1:]}

    @property
    def record(self) -> tuple[Any, Any]:
        """The recipes ``[G, ...]`` and the fitness ``[G, T]`` of all generations so far."""
        if len(self.recorded) > 1:
            self.recorded = [jax.tree.map(lambda *parts: np.concatenate(parts), *self.recorded)]
        return self.recorded[0] if self.recorded else (None, None)

    @property
    def last(self) -> dict[str, Any]:
        """The metrics of the last generation; none before the first."""
        return {name: values[-1] for name, values in self.history.items()}

    def save(self) -> None:
        """Write a checkpoint, if there is a directory and at least one complete generation."""
        self.saved = time.monotonic()
        if self.directory and self.generations and self.whole and is_first():
            kept = checkpoint.Checkpoint(
                on_one(self.state), *self.record, self.history, self.config, self.seconds, self.start
            )
            checkpoint.save(self.directory.checkpoints, kept)

    def finish(self, why: "Why") -> Result:
        """The result; if there is a directory, also write checkpoint, pedigree and summary."""
        record = Pedigree(self.root, *self.record, self.config, self.algorithm.children, self.start)
        state = on_one(self.state)
        result = Result(state, record, self.history, why.reason, self.seconds, why.ended, self.algorithm)
        self.save()
        if self.directory and self.generations and is_first():
            pedigree.save(record, self.directory.path / "pedigree.npz")
            head = {"name": self.config["name"], "seed": self.config["arguments"].get("seed")}
            write_json(self.directory.path / "summary.json", head | result.summary())
        return result


_START = {"best_fitness": -np.inf, "evaluations": 0}


def _join(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    return np.concatenate([old, new])


def _append(history: dict[str, np.ndarray], columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Append to the columns. A column that begins late, such as step sizes after random founders, is NaN before."""
    rows = len(history.get("generation", ()))
    return {
        name: _join(history.get(name, np.full(rows, np.nan, np.float32)), values) if rows else values
        for name, values in columns.items()
    }


def _compiled(function: Callable[..., Any], program: Program) -> Callable[..., Any]:
    mesh = program.evaluator.mesh
    return program.algorithm.remembered((function, program), lambda: jit(partial(function, program), mesh))


def _dispatch(program: Program, state: State, limit: int) -> tuple[State, Info, int, Verdict]:
    """Up to ``limit`` generations on the device: the state, infos, the number of valid ones, and the last verdict."""
    if not state.founding and not program.evaluator.on_host:
        state, infos, count, verdict = _compiled(block, program)(state, np.int32(limit))
        return state, infos, int(count), Verdict(int(verdict))
    if program.evaluator.on_host:
        after, info, verdict = _compiled(_one, program)(state, program.evaluator(state.source))
    else:
        after, info, verdict = _compiled(_first, program)(state)
    verdict = Verdict(int(verdict))
    fine = verdict is Verdict.FINE
    if fine:
        program.evaluator.hear(int(state.generation), take(info.recipe, 0))
    return (after if fine else state), info, int(fine), verdict


def evaluator_of(
    algorithm: Algorithm, task: Task, chunk: int | None = None, devices: Devices | None = None
) -> Evaluator:
    """An evaluator on all these devices if there is more than one chunk to share, else on one device.

    Args:
      algorithm: from `jaxga.ga`.
      task: that is scored.
      chunk: number of children scored at once, see `vmapped`.
      devices: the devices, or their number; by default all.
    """
    evaluator, devices = vmapped(algorithm, task, chunk), chosen(devices)
    share = worth_sharing(evaluator, len(devices)) and not configured("disable_jit")
    return sharded(evaluator, devices) if share else evaluator


def _next_limit(count: int, taken: float) -> int:
    """The number of generations that take about DISPATCH_SECONDS, at most 4 times the last number."""
    return int(np.clip(min(DISPATCH_SECONDS * count / max(taken, 1e-9), 4 * count), 1, BLOCK))


class Why(NamedTuple):
    """Why to stop."""

    ended: Ended
    reason: str
    signal: int = 0


class Limits(NamedTuple):
    """The limits of a run. What was used before it was resumed counts."""

    stop: Stop
    generations: int
    seconds: float
    steps: float

    def reached(self, sitting: _Sitting, interrupt: Interrupt) -> Why | None:
        """Why to stop now; None to go on."""
        if self.stop(sitting.state, sitting.last):
            return Why(Ended.RULE, self.stop.explain(sitting.state, sitting.last))
        if sitting.generations >= self.generations:
            return Why(Ended.GENERATIONS, f"all {self.generations} generations done")
        if sitting.generations and sitting.seconds >= self.seconds:
            return Why(Ended.TIME, f"{self.seconds:g} seconds are over")
        if sitting.last.get(STEPS, 0) >= self.steps:
            return Why(Ended.STEPS, f"{self.steps:,.0f} agent steps are used up")
        return _interrupted(interrupt.signal) if interrupt.signal else None


def _interrupted(number: int) -> Why:
    return Why(Ended.SIGNAL, f"interrupted by {signal.Signals(number).name}", number)


def _together(why: Why | None, limit: int, interrupt: Interrupt) -> tuple[Why | None, int]:
    """The same decision for all processes: by the first process's clock, or by a signal to any process."""
    if jax.process_count() == 1:
        return why, limit
    votes = agreed(bool(why), interrupt.signal or 0, limit)
    told = int(votes[:, 1].max())
    if why is None and told:
        why = _interrupted(told)
    stops = votes[0, 0] or told
    return (why or Why(Ended.TIME, "the first process stopped")) if stops else None, int(votes[0, 2])


def run(
    algorithm: Algorithm,
    task: Task | Evaluator,
    key: Key | int | None = None,
    *,
    generations: int,
    stop: Stop = never,
    seconds: float = float("inf"),
    steps: float = float("inf"),
    chunk: int | None = None,
    devices: Devices | None = None,
    evaluator: Evaluator | None = None,
    validate_every: int | None = None,
    state: State | None = None,
    directory: RunDirectory | str | os.PathLike[str] | None = None,
    checkpoint_seconds: float = 30.0,
    progress: Silence | None = None,
    hooks: Sequence[Hook] = (),
) -> Result:
    """Evolve until ``generations``, ``seconds`` or ``steps`` are used up, a stop rule is met, or a signal comes.

    Generations are dispatched to the device in blocks. The result does not depend on the blocks, nor on interruptions:
    a resumed run gives the same result as one that was never stopped, bit for bit.

    If several processes take part (`jaxga.distributed`), all run the same generations, and the first process writes the
    files. A signal to any process stops all of them.

    On a signal (SIGINT or SIGTERM) the run first saves. Then the signal takes its usual effect: Ctrl-C raises
    `jaxga.Interrupted`, a KeyboardInterrupt that holds the result, and SIGTERM ends the process, unless another handler
    was set before.

    Args:
      algorithm: from `jaxga.ga`.
      task: a `Task`, which `vmapped` scores unless ``evaluator`` is given; or an evaluator, such as `jaxga.rollouts`.
      key: root key or seed, from which all random numbers are derived. By default the key of ``state``, or seed 0.
      generations: maximum number of generations. Those before the run was resumed count.
      stop: a stop rule: `jaxga.stop.target`, `jaxga.stop.no_improvement`, `jaxga.stop.plateau`, `jaxga.stop.any_of`.
      seconds: maximum wall-clock time. Time before the run was resumed counts. At least one generation is run.
      steps: maximum number of agent steps, for evaluators that count ``agent_steps``, such as `jaxga.rollouts`. Steps
        before the run was resumed count.
      chunk: number of children scored at once, see `vmapped`.
      devices: the devices that share the children, or their number; by default all. The result is the same for any
        number of devices. See `jaxga.sharded`.
      evaluator: scores the children of ``task``, in place of `vmapped`, for instance a `jaxga.pool`.
      validate_every: number of generations between two calls of `Task.validate` for the best parent; the metrics are
        NaN in between. By default 1.
      state: the state of another run, ``result.state``, to continue with this algorithm, which may have another
        mutation, selection or task. Parents, their strategies, their scores and the generation count are kept. Step
        sizes belong to strategies, so those of a new mutation are not used, and a warning says so. To use them, start
        a new run with ``founders=jaxga.trained_founders(...)``.
      directory: where metrics, checkpoints, pedigree and summary are written. With a path, a run is started there, or
        resumed if the path holds this run. A `jaxga.report.RunDirectory` also stores the arguments of an experiment,
        and says whether to resume.
      checkpoint_seconds: seconds between checkpoints. One is always written at the end, and when an error ends the run.
      progress: `jaxga.report.Progress` shows a bar; by default nothing is shown.
      hooks: functions that are called with (state, records) after every dispatch; one record for each generation.

    Raises:
      InputError: for sizes that do not fit, a damaged checkpoint, or a directory that holds another run.
      Interrupted: when Ctrl-C ended the run.

    Warns:
      RuntimeWarning: if all children of a generation score NaN (the run then stops, with the last valid parents) or
        minus infinity; if an elite's score is probably due to luck; if integer fitness is too large for float32 to
        tell values apart; if the parents of ``state`` keep other step sizes than a new mutation sets.

    >>> import jaxga
    >>> from jaxga.variation import absolute, gaussian
    >>> task = jaxga.Task(lambda key: jnp.ones(3), lambda key, w: -jnp.sum(w**2))
    >>> algorithm = jaxga.ga(task.init, gaussian(absolute(0.1)), parents=2, children=16)
    >>> result = run(algorithm, task, generations=50)
    >>> bool(result.state.best_fitness > -0.1), result.stopped_because
    (True, 'all 50 generations done')
    >>> float(task.evaluate(None, result.best_ever.params)) == float(result.state.best_fitness)
    True
    """
    require_whole(1, generations=generations, validate_every=1 if validate_every is None else validate_every)
    require_at_least(0, seconds=seconds, steps=steps)
    program = _program(algorithm, task, stop, chunk, devices, evaluator, validate_every)
    if state is not None:
        state = _going_on(program, state, key)
    root = as_key(0 if key is None else key) if state is None else state.key
    if isinstance(directory, str | os.PathLike):
        directory = RunDirectory(directory, "run", {}, resume=(Path(directory) / "config.json").exists())
    sinks = [sink for sink in (directory, progress) if sink and is_first()]
    doubts = Doubts(algorithm, program.evaluator, configured("debug_nans"))
    with contextlib.ExitStack() as stack:
        if directory:
            stack.enter_context(directory.held())
        stack.enter_context(jax.debug_nans(False))  # the fitness of parents without a score is NaN
        interrupt = stack.enter_context(Interrupt())
        sitting = _Sitting(algorithm, root, directory, state, program)
        limits = Limits(stop, generations, seconds, steps)
        for sink in sinks:
            stack.callback(sink.close)
            sink.start(int(sitting.state.generation), int(sitting.state.generation) - sitting.generations + generations)
        try:
            why = _go_on(program, sitting, limits, interrupt, sinks, hooks, checkpoint_seconds, doubts)
        except BaseException:
            sitting.save()
            raise
        result = sitting.finish(why)
    if why.signal:
        pass_on(why.signal, result, directory.path if directory else None)
    return result


def _program(
    algorithm: Algorithm,
    task: Any,
    stop: Stop,
    chunk: int | None,
    devices: Devices | None,
    evaluator: Evaluator | None,
    validate_every: int | None,
) -> Program:
    """The program to be compiled. Options that would have no effect are refused."""
    if isinstance(task, Task):
        scored = as_evaluator(algorithm, evaluator or evaluator_of(algorithm, task, chunk, devices))
        return Program(algorithm, scored, stop, task.validate, validate_every or 1)
    scored = as_evaluator(algorithm, task)
    options = {"chunk": chunk, "devices": devices, "evaluator": evaluator, "validate_every": validate_every}
    void = [name for name, value in options.items() if value is not None]
    require(
        not void,
        f"{' and '.join(void)} would have no effect, because task is an evaluator: set them where that is made, or "
        "pass a jaxga.Task.",
    )
    return Program(algorithm, scored, stop)


def _going_on(program: Program, state: State, key: Any) -> State:
    """The state of another run as the start of this one. The best fitness of the other run is forgotten.

    The memory of the other run's selection is kept if its shapes fit the selection of this run.
    """
    require(not state.founding, "state has no parents: it is that of a run before its first generation.")
    due = program.shape_of_state()
    require(
        _alike(due.source, state.source),
        f"state is of a run whose parents (or what they inherit) are not like the {program.algorithm.parents} of this "
        "algorithm: begin from its weights with founders=jaxga.trained_founders(result.best.params).",
    )
    begin = jit(program.begin)
    fresh = begin(state.key)
    if not fresh.founding:
        warn_of_inherited(program.algorithm, state.source, fresh.source)
    root, first = (state.key, fresh) if key is None else (as_key(key), begin(as_key(key)))
    scores = state.scores._replace(
        metrics={
            name: state.scores.metrics[name] if _alike(leaf, state.scores.metrics.get(name)) else leaf
            for name, leaf in first.scores.metrics.items()
        }
    )
    same = _alike(due.remembered, state.remembered)
    return State(
        source=state.source._replace(key=root),
        scores=scores,
        remembered=state.remembered if same else first.remembered,
        best=nobody(),
    )


def _alike(one: Any, other: Any) -> bool:
    """Do both trees have the same structure, shapes and dtypes?"""
    one, other = (jax.eval_shape(lambda tree=tree: tree) for tree in (one, other))
    return jax.tree.structure(one) == jax.tree.structure(other) and all(
        a.shape == b.shape and a.dtype == b.dtype
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def _go_on(
    program: Program,
    sitting: _Sitting,
    limits: Limits,
    interrupt: Interrupt,
    sinks: Sequence[Any],
    hooks: Sequence[Hook],
    checkpoint_seconds: float,
    doubts: Doubts,
) -> Why:
    """Dispatch generations until there is a reason to stop."""
    limit, failure = 1, None
    while True:
        why = failure or limits.reached(sitting, interrupt)
        why, limit = _together(why, limit, interrupt)
        if why:
            return why
        begun, before = sitting.seconds, sitting.state
        played = None
        with interrupt.leaving(program.evaluator.on_host and jax.process_count() == 1):
            played = _dispatch(program, before, min(limit, limits.generations - sitting.generations))
        if played is None:  # interrupted within a generation, which a resumed run computes again
            continue
        after, infos, count, verdict = played
        require(
            verdict != Verdict.OUT_OF_RANGE,
            f"the selection chose an index in generation {int(after.generation)} that nobody has: indices go from 0 to "
            "evaluation.fitness.size - 1.",
        )
        sitting.state = after
        records = sitting.add(infos, count, begun) if count else []
        for sink in sinks if records else ():
            sink.write(records)
        for hook in hooks if records else ():
            hook(sitting.state, records)
        doubts.look(before, records, infos)
        if verdict == Verdict.NO_FITNESS:
            failure = Why(Ended.NO_FITNESS, f"every fitness of generation {int(after.generation)} is NaN")
            warnings.warn(
                f"{failure.reason}: the run stopped with the parents before it.", RuntimeWarning, stacklevel=3
            )
        limit = 1 if doubts.hunting else _next_limit(count, sitting.seconds - begun)
        if time.monotonic() - sitting.saved > checkpoint_seconds:
            sitting.save()
