"""Which mutation gets furthest, and which rule for its step size? Perceptrons on noise and on digits.

All arms of a question have the same number of evaluations and the same seeds. Noise is memorized with an exact fitness,
digits are read in small batches that all children of a generation share; the population is that of
`experiments/sizes.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import experiment
import jax
import jax.numpy as jnp
import numpy as np
from arms import Arm, Compared, Panel, Problem, answer, begin
from sizes import ENTROPY, noise, of_problem

import jaxga
from jaxga import variation
from jaxga.selection import alike, alike_weights, attraction, breeding, choose_mate, tournament, unlike, unlike_weights
from jaxga.variation import per

Question = Literal["form", "momentum", "rule", "lethal", "mates"]
BUDGET = 2**16  # evaluations of a run
STEPS = 3, 10, 30, 100, 300, 1000, 3000  # thousandths of the scale of a layer at initialisation


@experiment.own_first
@dataclass
class Args(Compared):
    question: Question = "form"
    """form: normal, Laplace, rank one, a unit, a layer, few weights, each with many step sizes. momentum: steps along
    those of the ancestors. rule: constant steps, self-adaptation, the 1/5 rule. lethal: children die whose step size is
    above a limit, which may be inherited. mates: who mates with whom."""


def run_of(
    args: Args, task: jaxga.Task, make: Callable[..., jaxga.Algorithm], children: int = 64, budget: int = BUDGET
) -> Arm:
    """As many generations as the evaluations are enough for."""
    return Arm(task, make, max((args.evaluations or budget) // children, 1))


def panels_of(
    args: Args, x: str, arms: Callable[[jaxga.Task, Problem], dict[tuple[str, int], Arm]], **options: Any
) -> list[Panel]:
    """A panel for every problem, with the arms that a function makes of its task."""
    panels = []
    for problem in args.problems:
        task, score = of_problem(args, problem)
        panels.append(Panel(problem, score, x, arms(task, problem), **options))
    return panels


def form(args: Args) -> list[Panel]:
    """The best of 64 children with a constant step, in units that are the same for all: of the weights that move."""
    forms: dict[str, Callable[[variation.StepSize], jaxga.Variation]] = {
        "normal": variation.gaussian,
        "Laplace": variation.laplace,
        "rank one": variation.low_rank,
        "the weights into one unit": variation.row,
        "one layer": lambda size: variation.one_at_a_time(variation.gaussian(size), per.layer),
        "one weight of each array": lambda size: variation.sparse(size, 1),
        "ten weights of each array": lambda size: variation.sparse(size, 10),
    }

    def arms(task: jaxga.Task, problem: Problem) -> dict[tuple[str, int], Arm]:
        del problem

        def made(form: str, step: int) -> jaxga.Algorithm:
            return jaxga.ga(task.init, forms[form](variation.relative(step / 1000)), parents=1, children=64)

        return {
            (name, step): run_of(args, task, partial(made, name, step), budget=BUDGET // 2)
            for name in list(forms)[: 2 if args.quick else None] for step in (STEPS[2:3] if args.quick else STEPS)
        }  # fmt: skip

    return panels_of(args, "step, thousandths", arms)


def momentum(args: Args) -> list[Panel]:
    """Steps of rank one that adapt or not; and beside them a step along the mean direction of the ancestors' steps."""
    ways = {"none": 0.0, "memory 0.5": 0.5, "memory 0.8": 0.8, "memory 0.95": 0.95}

    def arms(task: jaxga.Task, problem: Problem) -> dict[tuple[str, int], Arm]:
        del problem

        def made(memory: float, children: int, up: Any) -> jaxga.Algorithm:
            own = variation.low_rank(variation.multiplicative(variation.relative(0.05), up=up))
            change = variation.momentum(own, memory) if memory else own
            return jaxga.ga(task.init, change, parents=1, children=children)

        return {
            (name, children): run_of(args, task, partial(made, memory, children), children)
            for name, memory in ways.items() for children in ((64,) if args.quick else (64, 256))
        }  # fmt: skip

    return panels_of(args, "children", arms, varied="up", values={"adaptive": 1.2, "constant": 1.0})


def rule(args: Args) -> list[Panel]:
    """One parent. The 1/5 rule needs a parent that competes, so every rule is tried with and without that."""
    start = variation.relative(0.05)
    rules = {
        "constant": start,
        "times 1.2": variation.multiplicative(start, up=1.2),
        "log-normal, of layers": variation.log_normal(start, tau=0.2, per=per.layer),
        "log-normal, of weights": variation.log_normal(start, tau=0.2, per=per.parameter),
        "1/5 rule": variation.success_rule(start),
    }

    def arms(task: jaxga.Task, problem: Problem) -> dict[tuple[str, int], Arm]:
        def made(name: str, children: int, elites: int) -> jaxga.Algorithm:
            return jaxga.ga(
                task.init, variation.gaussian(rules[name]), parents=1, children=children, elites=elites,
                reevaluate=problem == "digits" and elites > 0,
            )  # fmt: skip

        return {
            (f"{name}, {'parent competes' if elites else 'parent dies'}", children): run_of(
                args, task, partial(made, name, children, elites), children, BUDGET // 2
            )
            for children in ((16,) if args.quick else (16, 64)) for elites in (0, 1) for name in rules
            if elites or name != "1/5 rule"
        }  # fmt: skip

    return panels_of(args, "children", arms)


def bounded(step_size: variation.StepSize, limit: float, tau: float) -> variation.StepSize:
    """Step sizes with an inherited limit of their factor, which is multiplied by ``exp(tau * normal)``."""

    def init(params: Any) -> dict[str, Any]:
        return {"inner": step_size.init(params), "log_limit": jnp.log(jnp.float32(limit))}

    def apply(key: jax.Array, strategy: dict[str, Any], context: jaxga.base.Context) -> tuple[Any, dict[str, Any]]:
        key_inner, key_limit = jax.random.split(key)
        sizes, inner = step_size.apply(key_inner, strategy["inner"], context)
        moved = strategy["log_limit"] + tau * jax.random.normal(key_limit, (), jnp.float32)
        return sizes, {"inner": inner, "log_limit": moved}

    return variation.StepSize(init, apply)


def below_limit(child: jaxga.Individual) -> jax.Array:
    """Is the factor of a child's step size below the limit that it inherited?"""
    log_factor, *_ = jax.tree.leaves(child.strategy["inner"]["log_factor"])  # one for all leaves
    return log_factor <= child.strategy["log_limit"]


def lethal(args: Args) -> list[Panel]:
    """Step sizes change by 1.3 and may not exceed a limit, 1 to 10 times the first one; children above it die.

    The limit is the same for all, or inherited and changing. One parent or 16, and 64 children.
    """
    limits = {
        "no limit": (np.inf, 0.0), "limit 1": (1.0, 0.0), "limit 3": (3.0, 0.0), "limit 10": (10.0, 0.0),
        "inherited limit, from 1": (1.0, 0.1), "inherited limit, from 10": (10.0, 0.1),
    }  # fmt: skip

    def arms(task: jaxga.Task, problem: Problem) -> dict[tuple[str, int], Arm]:
        del problem

        def made(limit: float, tau: float, parents: int) -> jaxga.Algorithm:
            size = variation.multiplicative(variation.relative(0.05), up=1.3, per=per.individual)
            mutation = variation.low_rank(bounded(size, limit, tau))
            return jaxga.ga(task.init, mutation, parents=parents, children=64, viable=below_limit)

        return {
            (name, parents): run_of(args, task, partial(made, limit, tau, parents))
            for parents in ((1,) if args.quick else (1, 16)) for name, (limit, tau) in limits.items()
        }  # fmt: skip

    def lost(one: Arm, runs: jaxga.Runs, values: np.ndarray) -> dict[str, Any]:
        del one, values
        sizes = next(found for name, found in runs.metrics.items() if "step_size" in name)
        killed = 100 * runs.metrics["lethal"].mean(axis=1) / 64
        return {"step size at the end": experiment.told(sizes[:, -1], 2, "g"), "killed, %": experiment.told(killed)}

    return panels_of(args, "parents", arms, extra=lost)


def with_points() -> jaxga.Task:
    """Noise to memorize; the metric ``_right`` says of each point whether a network is right."""
    plain = noise()
    inputs, labels = jaxga.tasks.noise(64, (16, 16, 1), 10)
    network = jaxga.nn.MLP((32, 10))

    def evaluate(key: jax.Array, params: Any) -> jaxga.Evaluation:
        score = plain.score(key, params)
        right = jaxga.tasks.right(jnp.asarray(network.apply(params, inputs)), labels).astype(jnp.float32)
        return score._replace(metrics=dict(score.metrics) | {"_right": right})

    return plain._replace(evaluate=evaluate)


def mates(args: Args) -> list[Panel]:
    """256 children of 16 or 64 parents, by weight. Each parent is the first one as often, and its mate is chosen."""
    task = with_points()
    ways: dict[str, dict[str, Any]] = {
        "by chance": {},
        "fitter": {"mates": choose_mate(tournament(3))},
        "alike in what is right": {"mates": alike("_right")},
        "unlike in what is right": {"mates": unlike("_right")},
        "right where the other is wrong": {"mates": attraction("_right")},
        "alike in weights": {"weights": alike_weights()},
        "unlike in weights": {"weights": unlike_weights()},
    }

    def made(parents: int, mates: Any = None, weights: Any = None) -> jaxga.Algorithm:
        mutation = variation.low_rank(variation.multiplicative(variation.relative(0.05), up=1.2))
        change = variation.chain(variation.uniform_crossover(), mutation)
        options = {"mates": weights} if weights else {}
        if mates:
            chosen = jaxga.selection.ranked()
            options = {"selection": breeding(chosen, parents, jaxga.selection.truncation, mates), "pairs": parents}
        return jaxga.ga(task.init, change, parents=parents, children=256, founders=jaxga.random_founders, **options)

    arms = {
        (name, parents): run_of(args, task, partial(made, parents, **way), 256)
        for parents in ((16,) if args.quick else (16, 64)) for name, way in ways.items()
    }  # fmt: skip

    def spread(one: Arm, runs: jaxga.Runs, values: np.ndarray) -> dict[str, Any]:
        """How far the mean of all children lies behind the best one in the second half of a run."""
        del one, values
        behind = runs.metrics["fitness"] - runs.metrics["mean_fitness"]
        return {"best - mean child": experiment.told(behind[:, behind.shape[1] // 2 :].mean(axis=1), 2, "g")}

    return [Panel("noise", ENTROPY, "parents", arms, extra=spread)]


QUESTIONS: dict[Question, Callable[[Args], list[Panel]]] = {
    "form": form, "momentum": momentum, "rule": rule, "lethal": lethal, "mates": mates,
}  # fmt: skip


def main(args: Args) -> None:
    out, summary = begin(args, "mutations")
    answer(QUESTIONS[args.question](args), args.question, args.seeds, out, summary)
    print(f"Files: {out}   Picture: {out / args.question}.png")


if __name__ == "__main__":
    jaxga.report.run_command(main, Args)
