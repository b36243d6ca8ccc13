"""Score children by games that are played in environments on the host.

If children share most of their weights with their parent, as with low-rank mutations, children of one parent are built
together, and act together in one call. They then share their parent's matrix products. Children that do not share
weights act separately.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxga.arena import Arena, Episode, Watch, ignore
from jaxga.base import (
    Algorithm,
    Evaluation,
    Game,
    Individual,
    Key,
    Params,
    Purpose,
    Source,
    as_key,
    generation_key,
    require_whole,
)
from jaxga.compilation import jit
from jaxga.devices import cores
from jaxga.evaluate.contract import PLAYED, STEPS, Evaluator, Part
from jaxga.evaluate.vmapped import (
    decoded,
    divisors,
    enough,
    largest_divisor,
    map_axes,
    parts_of_child,
    require_comparable,
)
from jaxga.heredity import candidate
from jaxga.interpret import by_parts
from jaxga.tree import expand, iota

WIDTH = 32  # the most observations for which actions are computed in one call
FEW = 8  # a call with half as many observations would take nearly as long
OWN_NUMBERS = 8_000_000  # the most numbers that the children of a group own


class Players:
    """A cache of groups of networks, which are built when they first have to act. The latest groups are kept."""

    def __init__(self, build: Callable[[int], Any], ask: Callable[..., jax.Array], width: int, keep: int):
        self.build, self.ask, self.width, self.keep = build, ask, width, keep
        self.built: OrderedDict[int, Any] = OrderedDict()

    def __call__(self, group: int, rows: np.ndarray, observations: np.ndarray) -> np.ndarray:
        """Actions ``[k, ...]`` of these rows of a group, computed in the same shape for every k."""
        if group not in self.built:
            self.built[group] = self.build(group)
        self.built.move_to_end(group)
        if len(self.built) > self.keep:
            self.built.popitem(last=False)
        count = len(rows)
        if count < self.width:
            rows, observations = (np.resize(each, (self.width, *each.shape[1:])) for each in (rows, observations))
        return np.asarray(self.ask(self.built[group], rows, observations))[:count]


class Programs(NamedTuple):
    """The compiled functions; equal algorithms and games share them."""

    draw: Callable[[Key], jax.Array]  # keys [n] -> starts [n]
    starts: Callable[..., jax.Array]  # (source, indices [c], episodes, purpose) -> starts [c, episodes]
    individual: Callable[..., Individual]  # (source, index) -> the individual, with dense weights
    decode: Callable[[Params], Params]  # (params) -> what the individual acts by, see `Game.decode`
    ask: Callable[..., jax.Array]  # (params, _, observations [B, ...]) -> actions [B, ...]
    brood: Callable[..., Params]  # (source, group) -> params of ``rows`` children of one parent
    ask_brood: Callable[..., jax.Array]  # (brood, rows [B], observations [B, ...]) -> actions [B, ...]
    viable: Callable[..., jax.Array]  # (source, indices [c]) -> bool [c]
    rows: int  # the number of children in a group; 1 if children do not act together


def compiled(algorithm: Algorithm, game: Game) -> Programs:
    """The programs of an algorithm whose children play a game."""
    parts = game.act, game.draw, game.key, game.decode
    return algorithm.remembered((compiled, *parts), lambda: programs_of(algorithm, *parts))


def programs_of(
    algorithm: Algorithm,
    act: Callable[[Params, jax.Array], jax.Array],
    draw: Callable[[Key], jax.Array],
    own_key: Callable[[Key, jax.Array], Key],
    decode: Callable[[Params], Params],
) -> Programs:
    axes, rows = _broods(algorithm, decode)

    def starts(source: Source, indices: jax.Array, episodes: int, purpose: Purpose) -> jax.Array:
        def of_individual(index: jax.Array) -> jax.Array:
            place = algorithm.place(source, index)
            own = generation_key(source, purpose)
            if purpose != Purpose.VALIDATION:
                own = own_key(algorithm.key(source, purpose, place.group), place.number)
            return jax.vmap(lambda episode: draw(jax.random.fold_in(own, episode)))(iota(episodes))

        return jax.vmap(of_individual)(indices)

    def ask(params: Params, _: Any, observations: jax.Array) -> jax.Array:
        return act(params, observations)

    def brood(source: Source, group: jax.Array) -> Params:
        pair, first = jnp.divmod(group * rows, algorithm.brood)
        build = lambda member: decoded(decode, algorithm.offspring(source, pair, member).params)  # noqa: E731
        return jax.vmap(build, out_axes=axes)(first + iota(rows))

    def ask_brood(brood: Params, chosen: jax.Array, observations: jax.Array) -> jax.Array:
        some = map_axes(lambda axis, leaf: leaf if axis is None else leaf[chosen], axes, brood)
        one = lambda params, observation: by_parts(act)(params, observation[None])[0]  # noqa: E731
        return jax.vmap(one, in_axes=(axes, 0))(some, observations)

    def viable(source: Source, indices: jax.Array) -> jax.Array:
        rule = by_parts(algorithm.viable or (lambda _: jnp.bool_(True)))
        places = jax.vmap(partial(algorithm.place, source))(indices)
        alive = lambda pair, member: rule(algorithm.offspring(source, pair, member))  # noqa: E731
        return jax.vmap(alive)(places.pair, places.member)

    return Programs(
        draw=jax.jit(jax.vmap(draw)),
        starts=jax.jit(starts, static_argnames=("episodes", "purpose")),
        individual=jax.jit(partial(candidate, algorithm)),
        decode=jit(decode),
        ask=jax.jit(ask),
        brood=jit(brood),
        ask_brood=jax.jit(ask_brood),
        viable=jax.jit(viable),
        rows=rows,
    )


class Rollouts(Evaluator):
    """See `rollouts`."""

    on_host = True

    def __init__(self, algorithm: Algorithm, game: Game, arena: Arena, episodes: int, watch: Watch):
        self.algorithm, self.game, self.arena, self.episodes, self.watch = algorithm, game, arena, episodes, watch
        self.programs = compiled(algorithm, game)

    def like(self, source: Source) -> Evaluation:
        """Shapes of the scores that `play` returns."""
        count = self.algorithm.children + len(self.algorithm.rescored(source))
        number, whole = jax.ShapeDtypeStruct((count,), jnp.float32), jax.ShapeDtypeStruct((), jnp.int32)
        metrics = {"episode_steps": number} | ({"std_return": number} if self.episodes > 1 else {})
        for name, observer in self.game.observe.items():
            metrics[name] = jax.ShapeDtypeStruct((count, *observer.shape), jnp.float32)
        return Evaluation(number, number, metrics | {STEPS: whole, PLAYED: whole})

    def slices(self, about: int) -> int:
        """The possible number of slices next to ``about``; slices are whole groups of children."""
        return enough(divisors(self.algorithm.children // self.programs.rows), about)

    def children(self, source: Source, number: Any = 0, slices: int = 1) -> Evaluation:
        """The scores of a slice of the children, which are all played at once."""
        some = self.algorithm.children // slices
        return self.score_children(source, number * some + np.arange(some))

    def individuals(self, source: Source, indices: Any, episodes: int | None = None) -> Evaluation:
        """The scores of individuals, which act separately; with ``episodes``, from that many new starts."""
        purpose = Purpose.VALIDATION if episodes else Purpose.EVALUATION
        indices = np.asarray(indices)
        starts = self.starts(source, indices, episodes or self.episodes, purpose)
        scores = self.score(source, indices, starts)
        return scores if episodes else self.less_parents(source, indices, starts, scores)

    def parts(self, source: Source) -> list[Part]:
        """The program that makes a child, the rules of the game, and the program by which a network acts."""
        game = self.game
        rules = [
            game.paired,
            game.make,
            game.max_steps,
            game.unseen,
            sorted((game.starts or {}).values()),
            self.episodes,
        ]
        child = Part(lambda source: self.algorithm.offspring(source, 0, 0), (source,), rules)
        if game.observation is None:
            return [child]
        shown = jax.ShapeDtypeStruct((1, *game.observation.shape), game.observation.dtype)
        act = lambda params, shown: game.act(game.decode(params), shown)  # noqa: E731
        return [child, Part(act, (jax.eval_shape(game.init, as_key(0)), shown))]

    def score_children(self, source: Source, indices: np.ndarray) -> Evaluation:
        """The scores ``[c]`` of children. Lethal children do not play.

        Args:
          source: the source of the generation.
          indices: ``[c]``, the children, which must be whole groups.
        """
        starts = self.starts(source, indices, self.episodes, Purpose.EVALUATION)
        alive = slice(None)
        if self.algorithm.viable is not None:
            alive = np.asarray(self.programs.viable(source, indices))
        played = self.play_children(source, indices[alive], starts[alive])
        scores = self.less_parents(source, indices[alive], starts[alive], played)
        return scores if self.algorithm.viable is None else _among(np.asarray(alive), scores)

    def less_parents(self, source: Source, indices: np.ndarray, starts: np.ndarray, scores: Evaluation) -> Evaluation:
        """The same scores; if the game is `paired`, minus those of the parents from the same starts.

        Args:
          source: the source of the generation.
          indices: ``[c]``, the children.
          starts: ``[c, episodes]``, int32.
          scores: ``[c]``, the children's scores from these starts.
        """
        if not self.game.paired or source.founding or not len(indices):
            return scores
        slots = np.asarray(jax.vmap(partial(self.algorithm.place, source))(jnp.asarray(indices)).slot)
        parents = self.score(source, self.algorithm.children + slots, starts)
        counts = {name: scores.metrics[name] + parents.metrics[name] for name in (STEPS, PLAYED)}
        return scores._replace(fitness=scores.fitness - parents.fitness, metrics=scores.metrics | counts)

    def play_children(self, source: Source, indices: np.ndarray, starts: np.ndarray) -> Evaluation:
        """The scores ``[c]`` of children. Children of one parent act together if they share enough of its weights.

        Args:
          source: the source of the generation.
          indices: ``[c]``, the children.
          starts: ``[c, episodes]``, int32.
        """
        if source.founding or self.programs.rows == 1:
            return self.score(source, indices, starts)
        width = _width(self.programs.rows * self.episodes)
        build = lambda group: self.programs.brood(source, np.int32(group))  # noqa: E731
        players = Players(build, self.programs.ask_brood, width, keep=8)
        return self.play(starts, players, [divmod(child, self.programs.rows) for child in indices.tolist()])

    def test(self, params: Params, key: Key, episodes: int, max_steps: int | None = None) -> Evaluation:
        """The scores ``[episodes]`` of single episodes of one network, outside of any generation.

        Args:
          params: of the network.
          key: from which the starts are drawn.
          episodes: their number.
          max_steps: the agent's steps after which an episode is cut off, by default `Game.max_steps`.
        """
        starts = np.asarray(self.programs.draw(jax.random.split(key, episodes)))
        return self.test_from(params, starts, max_steps)

    def test_from(self, params: Params, starts: np.ndarray, max_steps: int | None = None) -> Evaluation:
        """The scores ``[episodes]`` of single episodes of one network.

        Args:
          params: of the network.
          starts: ``[episodes]``, int32.
          max_steps: the agent's steps after which an episode is cut off, by default `Game.max_steps`.
        """
        players = Players(lambda _: self.programs.decode(params), self.programs.ask, WIDTH, keep=1)
        return self.play(starts[:, None], players, [(0, 0)] * len(starts), max_steps)

    def record(self, params: Params, start: int, max_steps: int | None = None) -> tuple[float, list[int]]:
        """The return of one episode of a network, and the actions in it.

        Args:
          params: of the network.
          start: of the episode.
          max_steps: the agent's steps after which the episode is cut off, by default `Game.max_steps`.
        """
        build, actions = lambda _: self.programs.decode(params), []
        players = Players(build, self.programs.ask, WIDTH, keep=1)

        def act(group: int, rows: np.ndarray, observations: np.ndarray) -> np.ndarray:
            done = players(group, rows, observations)
            actions.append(done[0])
            return done

        outcome = self.arena.play([Episode(0, 0, start)], act, WIDTH, max_steps or self.game.max_steps)
        return float(outcome.returns[0]), actions

    def score(self, source: Source, indices: np.ndarray, starts: np.ndarray) -> Evaluation:
        """The scores ``[c]`` of individuals, which act separately.

        Args:
          source: the source of the generation.
          indices: ``[c]``, children, or parents from index N on.
          starts: ``[c, episodes]``, int32.
        """

        def build(index: int) -> Params:
            return self.programs.decode(self.programs.individual(source, np.int32(index)).params)

        players = Players(build, self.programs.ask, _width(starts.shape[1]), keep=self.arena.envs)
        return self.play(starts, players, [(index, 0) for index in indices.tolist()])

    def play(
        self, starts: np.ndarray, players: Players, places: Sequence[tuple[int, int]], max_steps: int | None = None
    ) -> Evaluation:
        """Play episodes from starts ``[c, episodes]``, and return the scores ``[c]``.

        If an individual has the same start twice, it is played once, because the episodes would be equal.

        Args:
          starts: of each individual.
          players: the networks.
          places: group and row of each individual among the players.
          max_steps: the agent's steps after which an episode is cut off, by default `Game.max_steps`.
        """
        due = [(*place, start) for place, line in zip(places, starts.tolist(), strict=True) for start in line]
        numbers = {episode: number for number, episode in enumerate(dict.fromkeys(due))}
        most = max_steps or self.game.max_steps
        once = self.arena.play([Episode(*each) for each in numbers], players, players.width, most, self.watch)
        again = np.array([numbers[episode] for episode in due], int).reshape(starts.shape)
        returns, steps = once.returns[again], once.steps[again]
        metrics = {"episode_steps": jnp.asarray(steps.mean(1), jnp.float32)}
        if starts.shape[1] > 1:
            metrics |= {"std_return": jnp.asarray(returns.std(1), jnp.float32)}
        metrics |= {name: jnp.asarray(each[again].mean(1), jnp.float32) for name, each in once.observed.items()}
        counts = {STEPS: jnp.int32(steps.sum()), PLAYED: jnp.int32(once.steps.sum())}
        return Evaluation(jnp.asarray(returns.mean(1), jnp.float32), metrics=metrics | counts)

    def starts(self, source: Source, indices: np.ndarray, episodes: int, purpose: Purpose) -> np.ndarray:
        """The starts ``[c, episodes]`` of individuals.

        Args:
          source: the source of the generation.
          indices: ``[c]``, children, or parents from index N on.
          episodes: the number of episodes of each.
          purpose: from whose key starts are drawn. With `Purpose.VALIDATION`, all individuals have the same starts.
        """
        return np.asarray(self.programs.starts(source, indices, episodes=episodes, purpose=purpose))


def _among(alive: np.ndarray, scores: Evaluation) -> Evaluation:
    """Extend the scores of the individuals that are alive to all ``[c]``, with a fitness of -inf for the others."""
    place = np.maximum(np.cumsum(alive) - 1, 0)

    def spread(leaf: jax.Array, gap: float) -> jax.Array:
        if not len(leaf):
            return jnp.full((len(alive), *leaf.shape[1:]), gap, leaf.dtype)
        return jnp.where(expand(jnp.asarray(alive), leaf), leaf[place], jnp.asarray(gap, leaf.dtype))

    metrics = {name: leaf if leaf.ndim == 0 else spread(leaf, 0) for name, leaf in scores.metrics.items()}
    return Evaluation(spread(scores.fitness, -jnp.inf), metrics=metrics)


def _width(episodes: int) -> int:
    """The number of observations in one call: the largest power of two that a quarter of a group's episodes can fill.

    If there are few episodes, all of them count. Episodes end one by one, and unfilled places are computed for nothing.
    The last bit of a matrix product depends on the width, so the width must not depend on the number of environments.
    """
    return min(WIDTH, _power_of_two(max(episodes // 4, min(episodes, FEW))))


def _power_of_two(most: int) -> int:
    return 2 ** (most.bit_length() - 1)


def _broods(algorithm: Algorithm, decode: Callable[[Params], Params]) -> tuple[Any, int]:
    """Which leaves of a child are its own, and how many children of a parent are built together; 1 if they share less
    than half of their numbers."""
    axes, own, whole = parts_of_child(algorithm, decode)
    if 2 * own > whole:
        return axes, 1
    return axes, largest_divisor(algorithm.brood, max(OWN_NUMBERS // own, 1))


def rollouts(
    algorithm: Algorithm,
    game: Game,
    *,
    episodes: int = 1,
    envs: int | None = None,
    threads: int | None = None,
    watch: Watch = ignore,
) -> Rollouts:
    """Score all children by the mean return of the episodes that they play in environments on the host.

    Emulation and networks overlap: while threads step some environments, the networks of others act. An environment
    takes the next episode as soon as it is free, so that no episode waits for the longest one, and none is dropped for
    being slow. The result depends neither on ``envs`` nor on ``threads``.

    Logged in addition to fitness: for the best child ``episode_steps``, and with several episodes ``std_return``; for
    all children together ``agent_steps``, and ``played_steps``. The latter are fewer if a child has the same start
    twice, because it is played once.

    Args:
      algorithm: from `jaxga.ga`.
      game: from `jaxga.tasks.atari` or `jaxga.tasks.envpool_game`.
      episodes: number of episodes of each child, by default 1. Fitness is the mean of their returns.
      envs: number of environments that are played at once, by default 128, or 8 for each thread if that is more.
      threads: number of threads that emulate, by default the number of cores of this process.
      watch: a function that is called with ``(episodes over, steps so far)`` while a generation is played.

    Raises:
      InputError: if a number is below 1, or the selection keeps elites' scores of a game that is `paired`.

    >>> import jaxga
    >>> game = jaxga.tasks.envpool_game("CartPole-v1", jaxga.nn.MLP((2,)))
    >>> algorithm = jaxga.ga(game.init, jaxga.variation.gaussian(jaxga.variation.absolute(1.0)), parents=1, children=4)
    >>> state = algorithm.init(jax.random.key(0))
    >>> rollouts(algorithm, game, envs=2, threads=1)(state).fitness.shape
    (4,)
    """
    threads = cores() if threads is None else threads
    require_whole(1, episodes=episodes, threads=threads)
    require_comparable(algorithm, game)
    envs = max(4 * WIDTH, 8 * threads) if envs is None else envs
    arena = Arena(game.make, game.actions, envs, threads, game.starts, game.unseen, game.observe)
    return Rollouts(algorithm, game, arena, episodes, watch)
