"""Can one part of an agent be used again? Senses and actor are parts of one network that swings a pole up.

The pole hangs from a cart, which can be pushed left or right. The reward of a step is 1 where the pole stands, 0 where
it hangs, and the episode is over if the cart leaves the track. The senses turn 12 readings into a code of 4 numbers,
and the actor turns the code into an action. The readings are random mixtures of where pole and cart are and how they
move, bent by tanh: each body has mixtures of its own.

* swapped: an actor that was evolved in one body comes into another one, whose readings mean something else. Is it
  quicker to evolve new senses for it than to begin again?
* model: senses first evolve to predict the next readings from the code and the action. Does an actor learn faster with
  them?
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import experiment
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen

import jaxga
from jaxga import report, tasks, variation

Question = Literal["swapped", "model"]
READINGS, CODE = 12, 4
TRACK, STEPS = 2.4, 300  # half of its length; steps of an episode
TARGET = 180.0  # the mean return at which a run ends; a network that does not know the readings gets about 20
PARENTS, CHILDREN, EPISODES = 8, 64, 8
EXAMPLES = 512  # transitions that a model is scored on


@experiment.own_first
@dataclass
class Args(experiment.Files):
    question: Question = "swapped"
    """swapped: new senses for an old actor. model: senses that first learned to predict."""
    seeds: int = 10
    """Runs of every arm, each with bodies of its own."""
    generations: int = 60
    """Of every arm, at most; a run ends at a mean return of 180 of 300."""
    modelling: int = 200
    """Generations in which a model evolves, before the actor."""
    out: Path | None = None
    """Where the figures and pictures go; default runs/senses/<id>."""
    quick: bool = False
    """One seed and a few generations."""


class Senses(linen.Module):
    """12 readings to a code of 4 numbers."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.tanh(linen.Dense(CODE)(jnp.tanh(linen.Dense(16)(x))))


class Agent(linen.Module):
    """Senses, and the actor that sees their code only."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        code = Senses(name="senses")(x)
        return linen.Dense(2, name="actor_2")(jnp.tanh(linen.Dense(16, name="actor_1")(code)))


class Model(linen.Module):
    """Senses, and a network that predicts from code and action how the readings change."""

    @linen.compact
    def __call__(self, x: jax.Array, action: jax.Array) -> jax.Array:
        seen = jnp.concatenate([Senses(name="senses")(x), jax.nn.one_hot(action, 2)], axis=-1)
        return linen.Dense(READINGS, name="model_2")(jnp.tanh(linen.Dense(16, name="model_1")(seen)))


def body(key: jax.Array) -> tasks.Environment:
    """A cart and a pole that hangs from it, seen by 12 readings; the key decides what each of them means."""
    mixture = jax.random.normal(key, (5, READINGS), jnp.float32)
    cart = tasks.cartpole()

    def readings(state: jax.Array) -> jax.Array:
        place, speed, angle, spin = state
        seen = jnp.stack([place / TRACK, speed / 3, jnp.sin(angle), jnp.cos(angle), spin / 5])
        return jnp.tanh(seen @ mixture)

    def reset(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        hanging = jnp.array([0, 0, np.pi, 0], jnp.float32)
        state = hanging + 0.05 * jax.random.normal(key, (4,), jnp.float32)
        return state, readings(state)

    def step(key: jax.Array, state: jax.Array, action: Any) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        state = cart.step(key, state, action)[0]
        return state, readings(state), (1 + jnp.cos(state[2])) / 2, jnp.abs(state[0]) > TRACK

    return tasks.Environment(reset, step, (READINGS,), 2, STEPS)


def prediction(environment: tasks.Environment, key: jax.Array) -> jaxga.Task:
    """Fitness is minus the error of the predicted change, as a part of its variance, on what a random actor meets."""
    keys = jax.random.split(key, 3)

    def episode(key: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        begin, acts = jax.random.split(key)
        state, seen = environment.reset(begin)

        def step(carry: Any, key: jax.Array) -> tuple[Any, Any]:
            state, seen, over = carry
            action = jax.random.randint(key, (), 0, 2, jnp.int32)
            state, after, _, done = environment.step(key, state, action)
            return (state, after, over | done), (seen, action, after - seen, ~over)

        return jax.lax.scan(step, (state, seen, jnp.bool_(False)), jax.random.split(acts, 50))[1]

    seen, action, change, alive = jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), jax.vmap(episode)(jax.random.split(keys[0], EXAMPLES // 8))
    )
    chosen = jax.random.choice(keys[1], len(alive), (EXAMPLES,), p=alive / alive.sum())
    seen, action, change = seen[chosen], action[chosen], change[chosen] / change[chosen].std(axis=0)
    network = Model()

    def evaluate(key: jax.Array, params: Any) -> jaxga.Evaluation:
        del key
        return jaxga.Evaluation(-jnp.mean((jnp.asarray(network.apply(params, seen, action)) - change) ** 2))

    return jaxga.Task(lambda key: network.init(key, seen[:1], action[:1]), evaluate)


def evolve(task: jaxga.Task, founder: Any, generations: int, seed: int, only: str = "") -> jaxga.Result:
    """Evolve all leaves, or those whose path has ``only`` in it, from one founder, until the mean return is 180."""
    mutation = variation.gaussian(variation.multiplicative(variation.relative(0.3), up=1.2))
    if only:
        mutation = variation.masked(mutation, lambda path: only in path[1])
    founders = jaxga.trained_founders(founder)
    algorithm = jaxga.ga(task.init, mutation, parents=PARENTS, children=CHILDREN, founders=founders)
    return jaxga.run(algorithm, task, key=seed, generations=generations, stop=jaxga.stop.target(TARGET))


class Arm(NamedTuple):
    """Where the parts of a founder come from, and what evolves."""

    senses: str  # old, new or model
    actor: str  # old or new
    only: str = ""  # the part that evolves, or both


ARMS: dict[Question, dict[str, Arm]] = {
    "swapped": {
        "everything new": Arm("new", "new"),
        "everything goes on": Arm("old", "old"),
        "old actor, new senses": Arm("new", "old"),
        "old actor that stays, new senses": Arm("new", "old", "senses"),
        "new actor that stays, new senses": Arm("new", "new", "senses"),
    },
    "model": {
        "everything new": Arm("new", "new"),
        "senses of the model": Arm("model", "new"),
        "senses of the model, which stay": Arm("model", "new", "actor"),
        "new senses, which stay": Arm("new", "new", "actor"),
    },
}


def trial(args: Args, seed: int) -> dict[str, Any]:
    """All arms of one seed: generations to the target, and the return in 100 unseen episodes before and after."""
    bodies, inits, examples = jax.random.split(jax.random.key(1000 + seed), 3)
    first, second = (body(key) for key in jax.random.split(bodies))
    task = tasks.control(second, Agent(), episodes=EPISODES, key=jaxga.common)
    test = tasks.control(second, Agent(), episodes=100, key=jaxga.common)
    score = jax.jit(lambda params: test.score(jax.random.key(2**31 - 1), params).fitness)
    parts = {"new": task.init(inits)}
    found: dict[str, Any] = {}
    if args.question == "swapped":
        begun = tasks.control(first, Agent(), episodes=EPISODES, key=jaxga.common)
        result = evolve(begun, begun.init(jax.random.fold_in(inits, 1)), args.generations, seed)
        parts["old"] = result.best.params
        found["first body"] = {"generations": result.generations, "return": float(result.state.best_fitness)}
    else:
        model = prediction(second, examples)
        result = evolve(model, model.init(inits), args.modelling, seed)
        parts["model"] = result.best.params
        found["model"] = {"generations": result.generations, "return": float(result.state.best_fitness)}
    for name, arm in ARMS[args.question].items():
        senses = parts[arm.senses]["params"]["senses"]
        founder = {"params": {**parts[arm.actor]["params"], "senses": senses}}
        result = evolve(task, founder, args.generations, seed, arm.only)
        solved = float(result.state.best_fitness) >= TARGET
        found[name] = {
            "generations": result.generations if solved else args.generations, "reached": solved,
            "before": float(score(founder)), "return": float(score(result.best.params)),
        }  # fmt: skip
    return found


def main(args: Args) -> None:
    if args.quick:
        args.seeds, args.generations, args.modelling = 1, 2, 2
    jaxga.base.require_whole(1, seeds=args.seeds, generations=args.generations, modelling=args.modelling)
    jaxga.require(args.question in get_args(Question), f"question is {args.question!r}: {get_args(Question)}.")
    out = args.out or report.find_run("senses", asdict(args))
    report.RunDirectory(out, "senses", asdict(args), args.resume)
    trials: list[dict[str, Any]] = []
    run: Callable[[int], dict[str, Any]] = partial(trial, args)
    for seed in range(args.seeds):
        trials.append(experiment.once(out / "runs.json", args.question, seed, partial(run, seed)))
        print(f"seed {seed}: " + ", ".join(f"{name} {one['generations']}" for name, one in trials[-1].items()))
    rows, curves, x = [], [], np.arange(args.generations + 1)
    for name in trials[0]:
        each = [one[name] for one in trials]
        row = {"": name, "generations": experiment.told([one["generations"] for one in each], 1)}
        row |= {"reached": "", "return before": ""}
        if "reached" in each[0]:
            row["reached"] = f"{sum(one['reached'] for one in each)} of {len(each)}"
            row["return before"] = experiment.told([one["before"] for one in each], 0)
            there = np.array([one["generations"] if one["reached"] else np.inf for one in each])
            curves.append(report.Curve(name, x, 100 * np.mean(there[:, None] <= x, axis=0, keepdims=True)))
        row["return"] = experiment.told([one["return"] for one in each], 2 if name == "model" else 0)
        rows.append(row)
    report.write_json(out / "summary.json", {"name": "senses", "question": args.question, "arms": rows})
    axes = {"xlabel": "generation", "ylabel": f"runs with a mean return of {TARGET:.0f}, %", "ylim": (-3, 103)}
    report.plot_curves([(axes, curves)], out / f"{args.question}.png", f"{args.question}, {args.seeds} seeds")
    report.print_table(rows, f"{args.question}: generations of {CHILDREN} children to a mean return of {TARGET:.0f}")
    print(f"Files: {out}   Picture: {out / args.question}.png")


if __name__ == "__main__":
    report.run_command(main, Args)
