"""Several populations in one state, with migration between them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxga.base import Evaluation, Key, Recipe, Scored, Selection, require, require_whole
from jaxga.measures import NUMBERS
from jaxga.selection.choices import ranking
from jaxga.tree import iota

EACH = Scored(0, 0, 0, 0, 0, None, 0, 0)  # pyright: ignore[reportArgumentType]  # the axes of what is mapped over islands
Topology = Callable[[Key, int], jax.Array]  # (key, I) -> [I, S] int32, see `ring`


def ring(key: Key, islands: int) -> jax.Array:
    """A topology: migrants come from the island with the next lower number, and those of island 0 from the last.

    Args:
      key: the key of the migration, for topologies that are drawn.
      islands: I, the number of islands.

    Returns:
      ``[I, S]`` int32: for each island, the S islands from which migrants come.

    >>> ring(jax.random.key(0), 3)[:, 0].tolist()
    [2, 0, 1]
    """
    del key
    return (iota(islands)[:, None] - 1) % islands


def anywhere(key: Key, islands: int) -> jax.Array:
    """A topology: migrants come from one other island, which is drawn at each migration.

    Arguments and result are those of `ring`.
    """
    return (iota(islands)[:, None] + jax.random.randint(key, (islands, 1), 1, max(islands, 2), jnp.int32)) % islands


def everywhere(key: Key, islands: int) -> jax.Array:
    """A topology: migrants come from all other islands. Arguments and result are those of `ring`.

    >>> everywhere(jax.random.key(0), 3).tolist()
    [[1, 2], [2, 0], [0, 1]]
    """
    del key
    return (iota(islands)[:, None] + 1 + iota(islands - 1)) % islands


def best_migrants(key: Key, scored: Scored, num: int) -> jax.Array:
    """For ``islands(choose=...)``: the best candidates of an island migrate.

    Args:
      key: the key of the migration, for functions that draw.
      scored: the candidates ``[C]`` of one island.
      num: the number of migrants.

    Returns:
      Their positions among the candidates, int32 ``[num]``.
    """
    del key
    return scored.order[:num]


def random_migrants(key: Key, scored: Scored, num: int) -> jax.Array:
    """For ``islands(choose=...)``: candidates of an island that are drawn uniformly migrate.

    Arguments and result are those of `best_migrants`.
    """
    return jax.random.permutation(key, len(scored.index))[:num].astype(jnp.int32)


def islands(
    selection: Selection,
    count: int,
    *,
    every: int | None = None,
    migrants: int = 1,
    topology: Topology = ring,
    choose: Callable[[Key, Scored, int], jax.Array] = best_migrants,
) -> Selection:
    """The island model: the same selection on each of several separate populations, with migration.

    The parents, pairs and children of ``ga`` are divided equally among the islands. Copies of individuals migrate, and
    compete with the candidates of the island to which they come.

    Island i uses the same random numbers as a separate run with the key ``fold_in(key, i)``. Without migration it gives
    the same result as that run, bit for bit.

    Logged: ``island_fitness``, the best fitness on each island, if there are at most 16 islands.

    Args:
      selection: for each island: any selection except another `islands`.
      count: number of islands, 2 or more.
      every: number of generations from one migration to the next; by default None, no migration.
      migrants: number of migrants from each island of origin, by default 1.
      topology: the islands of origin: `ring` (the default), `anywhere` or `everywhere`.
      choose: which individuals migrate: `best_migrants` (the default) or `random_migrants`.

    Raises:
      InputError: if ``count`` is below 2, ``every`` or ``migrants`` is below 1, or ``selection`` has islands already.

    >>> import jaxga
    >>> from jaxga import selection, variation
    >>> task = jaxga.Task(lambda key: jnp.ones(3), lambda key, w: -jnp.sum(w**2))
    >>> four = islands(selection.ranked(elites=1), 4, every=10)
    >>> mutation = variation.gaussian(variation.absolute(0.1))
    >>> algorithm = jaxga.ga(task.init, mutation, parents=8, children=64, selection=four)
    >>> result = jaxga.run(algorithm, task, generations=40)
    >>> sorted(name for name in result.history if name.startswith("island"))
    ['island_fitness_0', 'island_fitness_1', 'island_fitness_2', 'island_fitness_3']
    """
    require_whole(2, count=count)
    require_whole(1, migrants=migrants, **({} if every is None else {"every": every}))
    require(selection.groups == 1, "selection has islands already: islands cannot have islands.")

    def init(parents: int, like: Evaluation) -> Any:
        each = parents // count
        require(all(slot < each for slot in selection.elites), f"elites do not fit on islands with {each} slots.")
        alone = jax.tree.map(lambda leaf: leaf[:each], like)
        return jax.vmap(lambda _: selection.init(each, alone))(iota(count))

    def apply(keys: Key, scored: Scored, remembered: Any) -> tuple[Recipe, Any, dict[str, jax.Array]]:
        slots = len(scored.held) // count
        born = (len(scored.index) - count * len(selection.elites)) // count
        own = _apart(scored, count, born, slots)
        own = _ranked(keys, own)
        metrics = {"island_fitness": jnp.nanmax(own.evaluation.fitness, axis=1)} if count <= NUMBERS else {}
        came = jnp.zeros((count, 0), jnp.int32)
        if every is not None:
            due = (scored.generation + 1) % every == 0
            own, came = _with_migrants(keys, own, due, migrants, topology, choose, born)
            own = _ranked(keys, own)
        recipe, remembered, measured = jax.vmap(selection.apply, in_axes=(0, EACH, 0))(keys, own, remembered)
        island, many, local = iota(count)[:, None, None], came.shape[1], recipe.indices
        stays = _global(jnp.where(local < born, local, local - many), island, count, born, slots)
        comes = (local >= born) & (local < born + many)
        indices = jnp.where(comes, came[island, jnp.clip(local - born, 0, many - 1)], stays) if many else stays
        pairs = recipe.pairs
        if pairs is not None:
            pairs = jnp.where(pairs < 0, pairs, pairs + slots * island)
        whole = recipe._replace(indices=indices, pairs=pairs)
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), whole)
        return flat, remembered, {**metrics, **{name: jnp.mean(leaf) for name, leaf in measured.items()}}

    in_place = selection.in_place and every is None  # a migrant may be held on two islands
    return selection._replace(init=init, apply=apply, ordered=False, groups=count, in_place=in_place)


def _apart(scored: Scored, islands: int, born: int, slots: int) -> Scored:
    """What the selection sees on each island, ``[I, ...]``, with indices and slots as if there were no others."""
    children, island = islands * born, iota(islands)[:, None]

    def candidates(leaf: jax.Array) -> jax.Array:
        parts = (part.reshape(islands, -1, *leaf.shape[1:]) for part in (leaf[:children], leaf[children:]))
        return jnp.concatenate(list(parts), axis=1)

    def own(scores: Evaluation, spread: Callable[[jax.Array], jax.Array]) -> Evaluation:
        metrics = {name: leaf for name, leaf in dict(scores.metrics or {}).items() if leaf.ndim}
        return jax.tree.map(spread, scores._replace(metrics=metrics))

    slot, is_child = candidates(scored.slot) - island * slots, candidates(scored.born)
    evaluation = own(scored.evaluation, candidates)
    return Scored(
        evaluation=evaluation,
        index=jnp.where(is_child, iota(is_child.shape[1]), born + slot),
        slot=slot,
        order=jnp.zeros(slot.shape, jnp.int32),
        parents=own(scored.parents, lambda leaf: leaf.reshape(islands, slots, *leaf.shape[1:])),
        generation=scored.generation,
        born=is_child,
        held=jnp.broadcast_to(born + iota(slots), (islands, slots)),
    )


def _ranked(keys: Key, own: Scored) -> Scored:
    """The same, ranked on each island as in a separate run."""
    return own._replace(order=jax.vmap(lambda key, one: ranking(jax.random.split(key)[0], one))(keys, own.evaluation))


def _with_migrants(
    keys: Key,
    own: Scored,
    due: jax.Array,
    num: int,
    topology: Topology,
    choose: Callable[[Key, Scored, int], jax.Array],
    born: int,
) -> tuple[Scored, jax.Array]:
    """Each island with its immigrants, between its children and its elites; and the immigrants' indices ``[I, M]``.

    If no migration is due, immigrants have no fitness.
    """
    islands, slots = own.held.shape
    chooses = jax.vmap(lambda key: jax.random.fold_in(key, 1))(keys)
    sent = jax.vmap(lambda key, one: choose(key, one, num), in_axes=(0, EACH))(chooses, own)
    whence = topology(jax.random.fold_in(keys[0], 2), islands)
    places = sent[whence].reshape(islands, -1)
    whence = jnp.repeat(whence, num, axis=1)
    indices = _global(own.index[whence, places], whence, islands, born, slots)
    many = places.shape[1]

    def among(leaf: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.concatenate([leaf[:, :born], new, leaf[:, born:]], axis=1)

    arrived = jax.tree.map(lambda leaf: leaf[whence, places], own.evaluation)
    arrived = arrived._replace(fitness=jnp.where(due, arrived.fitness, jnp.nan))
    local = jnp.broadcast_to(iota(many), (islands, many))
    held = own.held + many
    return own._replace(
        evaluation=jax.tree.map(among, own.evaluation, arrived),
        index=among(jnp.where(own.born, own.index, own.index + many), born + local),
        slot=among(own.slot, local % slots),
        born=among(own.born, jnp.zeros_like(local, bool)),
        held=held,
    ), indices


def _global(index: jax.Array, island: jax.Array, islands: int, born: int, slots: int) -> jax.Array:
    """The index in the whole population, of an individual that has this index on its island."""
    return jnp.where(index < born, island * born + index, islands * born + island * slots + index - born)
