"""Run an algorithm: compiled blocks of generations, stop rules, files, checkpoints, and a clean way out."""

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
from jaxga.doubts import Doubts
from jaxga.evaluate import PLAYED, STEPS, Evaluator, as_evaluator, sharded, vmapped, worth_sharing
from jaxga.evaluate.fingerprint import describe_run
from jaxga.measures import as_columns
from jaxga.pedigree import Pedigree
from jaxga.report.files import RunDirectory, write_json
from jaxga.report.progress import Silence
from jaxga.scores import of_founders
from jaxga.signals import Interrupt, pass_on
from jaxga.stop import Stop, never
from jaxga.tree import take, where

BLOCK = 64  # generations that one dispatch can record
DISPATCH_SECONDS = 1.0  # a dispatch is kept about this short, so that a signal is heard soon


class Ended(Enum):
    """Why a run ended."""

    GENERATIONS = "all of them are done"
    RULE = "a stop rule was met"
    TIME = "its seconds are over"
    STEPS = "its agent steps are used up"
    SIGNAL = "it was interrupted"
    NO_FITNESS = "no child had a fitness"


class Result(NamedTuple):
    """What `run` returns."""

    state: State
    pedigree: Pedigree
    history: dict[str, np.ndarray]  # [G] each: generation, fitness, best_fitness, seconds, ...
    stopped_because: str
    seconds: float  # of wall-clock, over all sittings
    ended: Ended
    algorithm: Algorithm

    @property
    def generations(self) -> int:
        """Generations of this run, over all sittings."""
        return len(self.history.get("generation", ()))

    @property
    def best(self) -> Individual:
        """The best parent of the last generation, dense. Where children are averaged it is their mean.

        That mean has not been scored by the run; `best_ever` was.
        """
        require(self.generations > 0, "there is no best individual: no generation was completed.")
        return best_parent(self.algorithm, self.state)

    @property
    def best_ever(self) -> Individual:
        """The individual with the best fitness of all generations, dense: ``best_fitness`` is its score.

        It is replayed from the pedigree, which takes T children a generation.
        """
        born, index = int(self.state.best.generation), int(self.state.best.index)
        require(born >= 0, "there is no best individual: no child has had a fitness.")
        return pedigree.individual(self.algorithm, self.pedigree, born, index)

    @property
    def interrupted(self) -> bool:
        """Was the run told to stop by a signal?"""
        return self.ended is Ended.SIGNAL

    @property
    def failed(self) -> bool:
        """Did the run stop because no child had a fitness?"""
        return self.ended is Ended.NO_FITNESS

    def summary(self) -> dict[str, Any]:
        """The figures of summary.json."""
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
    """All that is compiled into a run. A value, so that equal runs of an algorithm share one program."""

    algorithm: Algorithm
    evaluator: Evaluator
    stop: Stop = never
    validate: Callable[[Params], Evaluation] | None = None
    validate_every: int = 1

    @property
    def score(self) -> Callable[[Source], Evaluation]:
        """The evaluator, traced once for whatever asks it; one on the host is called as it is."""
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
        """The same state with the scores of its parents, where the algorithm asks for them."""
        if not self.algorithm.score_founders:
            return state
        slots = self.algorithm.children + np.arange(self.algorithm.parents, dtype=np.int32)
        return of_founders(state, self.evaluator.individuals(state.source, slots))

    def shape_of_state(self) -> State:
        """Shapes and node types of a state whose children come from parents."""
        return shape_of_state(self.algorithm, self.like())


def best_parent(algorithm: Algorithm, state: State) -> Individual:
    """The parent in the first slot, where the selection puts the best there; else the one with the best score."""
    if algorithm.selection.ordered:
        return take(state.parents, 0)
    return take(state.parents, jnp.argmax(jnp.where(jnp.isnan(state.fitness), -jnp.inf, state.fitness)))


def generation(program: Program, state: State, number: Any) -> tuple[State, Info, jax.Array]:
    """Generation ``number``, and its `Verdict`. Where that is not FINE, the state stays as it is.

    ``number`` equals ``state.generation``, but does not depend on what was scored: under vmap a validation that is
    not due is then left out, instead of being computed and thrown away.
    """
    return settle(program, state, program.score(state.source), number)


def settle(program: Program, state: State, evaluation: Evaluation, number: Any) -> tuple[State, Info, jax.Array]:
    """What a generation with these scores leads to."""
    algorithm = program.algorithm
    decided, info = algorithm.select(state, evaluation)
    if state.founding:
        after = decided._replace(source=algorithm.advance(state.source, info.recipe))
    else:
        fine = info.verdict == Verdict.FINE
        decided = where(fine, decided._replace(source=()), state._replace(source=()))
        after = decided._replace(source=_advanced(algorithm, state.source, info.recipe, fine))
    return after, info._replace(metrics=info.metrics | _validation(program, after, number + 1)), info.verdict


def _advanced(algorithm: Algorithm, source: Source, recipe: Recipe, fine: jax.Array) -> Source:
    """The next source, or the same where a generation is not fine."""
    if recipe.step is not None:
        return where(fine, algorithm.advance(source, recipe), source)
    # The recipe that everybody stays is a pass over the parents less than choosing between old and new ones.
    stay = algorithm.children + jnp.arange(algorithm.parents, dtype=jnp.int32)
    after = algorithm.advance(source, recipe._replace(indices=jnp.where(fine, recipe.indices, stay[:, None])))
    small = where(fine, after._replace(parents=()), source._replace(parents=()))
    return small._replace(parents=after.parents)


def _validation(program: Program, state: State, done: Any) -> dict[str, jax.Array]:
    """How the best parent does on what it was never scored on; NaN in the generations between."""
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
    """Generation 0 of founders that are drawn afresh."""
    return _one(program, state, program.score(state.source))


def _one(program: Program, state: State, evaluation: Evaluation) -> tuple[State, Info, jax.Array]:
    after, info, verdict = settle(program, state, evaluation, state.generation)
    return after, jax.tree.map(lambda leaf: leaf[None], info), verdict


def block(program: Program, state: State, limit: jax.Array) -> tuple[State, Info, jax.Array, jax.Array]:
    """Up to ``limit`` generations in one program; its result does not depend on where blocks begin and end."""
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
    """One sitting of a run: the state, everything recorded so far, and the clock over all sittings."""

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

    @property
    def whole(self) -> bool:
        """Is the state that of the last generation on record? It is not while a generation is being added."""
        return int(self.state.generation) == self.history.get("generation", np.array([-1]))[-1] + 1

    def add(self, infos: Info, count: int, begun: float) -> list[dict[str, Any]]:
        """Append ``count`` generations that took from ``begun`` until now; returns their records."""
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
        """The best so far of what every generation measured, if it did."""
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
        """Write a checkpoint, if there is somewhere to write it and something to keep."""
        self.saved = time.monotonic()
        if self.directory and self.generations and self.whole and is_first():
            kept = checkpoint.Checkpoint(
                on_one(self.state), *self.record, self.history, self.config, self.seconds, self.start
            )
            checkpoint.save(self.directory.checkpoints, kept)

    def finish(self, why: "Why") -> Result:
        """The result, with its files where there is a directory."""
        record = Pedigree(self.root, *self.record, self.config, self.algorithm.children, self.start)
        state = on_one(self.state)
        result = Result(state, record, self.history, why.reason, self.seconds, why.ended, self.algorithm)
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


def _compiled(function: Callable[..., Any], program: Program) -> Callable[..., Any]:
    mesh = program.evaluator.mesh
    return program.algorithm.remembered((function, program), lambda: jit(partial(function, program), mesh))


def _dispatch(program: Program, state: State, limit: int) -> tuple[State, Info, int, Verdict]:
    """Up to ``limit`` generations on the device: state, infos, how many count, and the verdict on the last one."""
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
    """That of all devices, where there are several, and more than one chunk to be shared."""
    evaluator, devices = vmapped(algorithm, task, chunk), chosen(devices)
    share = worth_sharing(evaluator, len(devices)) and not configured("disable_jit")
    return sharded(evaluator, devices) if share else evaluator


def _next_limit(count: int, taken: float) -> int:
    """So many generations as take about DISPATCH_SECONDS, at most 4 times as many as last time."""
    return int(np.clip(min(DISPATCH_SECONDS * count / max(taken, 1e-9), 4 * count), 1, BLOCK))


class Why(NamedTuple):
    """Why to stop."""

    ended: Ended
    reason: str
    signal: int = 0


class Limits(NamedTuple):
    """What a run may use, earlier sittings counted in."""

    stop: Stop
    generations: int
    seconds: float
    steps: float

    def reached(self, sitting: _Sitting, interrupt: Interrupt) -> Why | None:
        """Why to stop now."""
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
    """The same for all processes: the first one's clock counts, and a signal to any of them."""
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
    """Evolve until ``generations``, a stop rule, ``seconds`` of wall-clock, or a signal.

    The result does not depend on where a run was interrupted, or on how generations were put together in a dispatch:
    resumed equals never stopped, bit for bit. Of many processes (`jaxga.distributed`) all run the same, and the first
    one writes; a signal to any of them stops all.

    A signal (SIGINT or SIGTERM) waits until the run has saved; then it does what it would have done without the run:
    Ctrl-C raises `jaxga.Interrupted`, a KeyboardInterrupt that has the result, and SIGTERM ends the process, if no
    handler was set that does otherwise.

    Args:
      algorithm: from `jaxga.ga`.
      task: a `Task`, scored by `vmapped`, or an evaluator, as `jaxga.rollouts`.
      key: root key or seed; everything random is derived from it. By default that of ``state``, or seed 0.
      generations: the run ends after this many, earlier sittings counted in.
      stop: `jaxga.stop.target`, `no_improvement`, `any_of`.
      seconds: of wall-clock, earlier sittings counted in; one generation is always run.
      steps: of agents, earlier sittings counted in; of an evaluator that counts ``agent_steps``, as `jaxga.rollouts`.
      chunk: children scored at once, see `vmapped`.
      devices: that share the children, see `jaxga.sharded`, or how many; by default all. The result is the same.
      evaluator: scores the children of the task in another way, as `jaxga.pool` does.
      validate_every: generations from one `Task.validate` of the best parent to the next; it is NaN between. By default
        1, every generation.
      state: of another run, ``result.state``, to go on from with this algorithm: another mutation, selection or task.
        Parents, what they inherit, their scores and the generation count are kept. Step sizes are inherited, so the
        ones of the new mutation are not used; to have those, begin anew with ``founders=jaxga.trained_founders(...)``.
      directory: where metrics, checkpoints, pedigree and summary go. A path begins a run, or goes on with the same run;
        a `jaxga.report.RunDirectory` also keeps the arguments of an experiment, and says whether to resume.
      checkpoint_seconds: between checkpoints. One is always written at the end, and before an error leaves a run.
      progress: `jaxga.report.Progress` shows a bar; the default shows nothing.
      hooks: each is called with (state, records) after every dispatch.

    Raises:
      InputError: for sizes that do not fit, a damaged checkpoint, or a directory that holds another run.
      Interrupted: where Ctrl-C ended it.

    Warns:
      RuntimeWarning: where all children of a generation score NaN (the run stops with the last good parents) or minus
        infinity; where an elite's score looks like luck; where integer fitness is too large to be told apart.

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
        stack.enter_context(jax.debug_nans(False))  # parents without a score have NaN
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
    """What is to be compiled. Options that would have no effect are refused."""
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
    """The state of another run as the start of this one. What was best in that run does not count here.

    What its selection remembered is kept where it fits to this one.
    """
    require(not state.founding, "state has no parents: it is that of a run before its first generation.")
    due = program.shape_of_state()
    require(
        _alike(due.source, state.source),
        f"state is of a run whose parents (or what they inherit) are not like the {program.algorithm.parents} of this "
        "algorithm: begin from its weights with founders=jaxga.trained_founders(result.best.params).",
    )
    root = state.key if key is None else as_key(key)
    first = jit(program.begin)(root)
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
    """Have these the same structure, shapes and kinds of numbers?"""
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
        if played is None:  # left in the middle of a generation, which a resumed run plays again
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
