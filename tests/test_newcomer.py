"""The first programs that a newcomer writes: what should simply work does, and the rest is refused in one sentence."""

import gc
import json
import subprocess
import sys
import warnings
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import analysis, checkpoint, compilation, nn, pedigree, tasks
from jaxga import variation as v
from jaxga.base import as_key, require_whole
from jaxga.doubts import is_noisy

G = v.gaussian(v.absolute(0.1))


def three(_):
    return jnp.ones(3)


def square(_, w):
    return -jnp.sum(w**2)


SQUARE = jaxga.Task(three, square)


def make(mutation=G, parents=2, children=8, **options):
    return jaxga.ga(three, mutation, parents=parents, children=children, **options)


@pytest.fixture(scope="module")
def algorithm():
    return make()


def run(algorithm, task=SQUARE, generations=4, **options):
    return jaxga.run(algorithm, task, generations=generations, **options)


def refused(use, message):
    with pytest.raises(jaxga.InputError, match=message) as caught:
        use()
    assert "\n" not in str(caught.value)


# What simply works.


def test_evaluate_may_return_a_number(algorithm):
    full = jaxga.Task(three, lambda key, w: jaxga.Evaluation(square(key, w)))
    chex.assert_trees_all_equal(run(algorithm).state, run(algorithm, full).state)
    whole = jaxga.Task(three, lambda *_: jnp.int32(7))
    assert float(run(algorithm, whole).state.best_fitness) == 7


def test_validate_may_return_a_number(algorithm):
    history = run(algorithm, SQUARE._replace(validate=lambda w: jnp.sum(w))).history
    assert history["best_validation"].shape == (4,)


def test_keys_may_be_seeds_typed_or_two_numbers(algorithm):
    expected = run(algorithm, key=3).state
    for key in (np.int64(3), jax.random.key(3), jax.random.PRNGKey(3), np.asarray(jax.random.PRNGKey(3))):
        chex.assert_trees_all_equal(run(algorithm, key=key).state, expected)


def test_founders_may_be_numpy_arrays():
    def founders(*_):
        return np.arange(6, dtype=np.float32).reshape(2, 3)

    assert make(founders=founders).init(as_key(0)).parents.params.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_devices_may_be_a_number(algorithm):
    chex.assert_trees_all_equal(run(algorithm, devices=1).state, run(algorithm).state)
    refused(lambda: run(algorithm, devices=99), "devices is 99, and there are 4: take 1 to 4")
    refused(lambda: run(algorithm, devices=0), "devices is 0, and there are 4")


def test_a_warm_start_is_one_line():
    trained = np.array([3.0, 2.0, 1.0], np.float32)
    algorithm = make(v.gaussian(v.relative(0.1)), founders=jaxga.trained_founders(trained))
    state = algorithm.init(as_key(0))
    assert state.parents.params.tolist() == [[3, 2, 1]] * 2
    assert np.allclose(state.parents.strategy, 0.1 * np.sqrt(14 / 3))  # relative to what was trained
    refused(
        lambda: run(make(founders=jaxga.trained_founders(np.ones(4, np.float32)))),
        r"founders \(founders\) returned float32\[2, 4\], and float32\[2, 3\] was due",
    )


def test_ask_and_tell(algorithm):
    """A loop of one's own is the run: the same children, and the same next parents."""
    state, update = algorithm.init(as_key(0)), jax.jit(algorithm.update)
    for _ in range(4):
        children = jaxga.population(algorithm, state)
        state, _ = update(state, jaxga.Evaluation(-np.sum(np.asarray(children.params) ** 2, axis=1)))
    expected = run(algorithm).state
    chex.assert_trees_all_close((state.parents, state.fitness), (expected.parents, expected.fitness), rtol=1e-6)


def test_an_algorithm_that_is_changed_has_programs_of_its_own(algorithm):
    twice = algorithm._replace(children=16)
    state = algorithm.init(as_key(0))
    assert jaxga.population(algorithm, state).params.shape == (8, 3)
    assert jaxga.population(twice, state).params.shape == (16, 3)


def test_best_ever_is_the_network_whose_score_is_the_best():
    """The best parent of averaged children is a mean that nobody scored."""
    result = run(make(recombination=v.average(4)), generations=6)
    assert square(None, result.best_ever.params) == pytest.approx(float(result.state.best_fitness), rel=1e-6)
    assert square(None, result.best.params) != pytest.approx(float(result.state.best_fitness), rel=1e-6)


def test_a_metric_of_several_numbers_gets_a_column_each_or_a_word(algorithm):
    task = jaxga.Task(three, lambda _, w: jaxga.Evaluation(jnp.sum(w), metrics={"place": w, "name": w[0]}))
    result = run(algorithm, task)
    assert {"place_0", "place_1", "place_2", "name"} <= set(result.history)
    sums = sum(result.history[f"place_{number}"] for number in range(3))
    np.testing.assert_allclose(sums, result.history["fitness"], rtol=1e-6)
    large = jaxga.Task(three, lambda *_: jaxga.Evaluation(0.0, metrics={"map": jnp.zeros((5, 5))}))
    with pytest.warns(RuntimeWarning, match=r"the metric 'map' has shape \(5, 5\), and is not logged"):
        run(algorithm, large)


# What a run goes on from.


def test_a_directory_by_its_path_goes_on_where_it_was(algorithm, tmp_path):
    run(algorithm, directory=str(tmp_path / "a"))
    again = run(algorithm, generations=7, directory=tmp_path / "a")
    chex.assert_trees_all_equal(again.state, run(algorithm, generations=7).state)
    assert again.generations == 7


class Other(NamedTuple):
    algorithm: jaxga.Algorithm
    message: str
    task: jaxga.Task = SQUARE
    instead_of: jaxga.Task = SQUARE


DATA = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)


def line_of(data):
    return jaxga.Task(three, lambda _, w: jnp.sum(data @ w))


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "other",
    [
        Other(make(v.gaussian(v.absolute(0.5))), "other first parents or step sizes"),
        pytest.param(Other(make(v.laplace(v.absolute(0.1))), "another variation, task or data"), marks=slow),
        Other(make(children=16), "children 8 there, 16 here"),
        pytest.param(Other(make(elites=1), "elites 0 there, 1 here"), marks=slow),
        pytest.param(Other(make(selection=jaxga.selection.roulette), "another selection or recombination"), marks=slow),
        pytest.param(Other(make(recombination=v.average(2)), "another selection or recombination"), marks=slow),
        pytest.param(
            Other(make(), "another variation, task or data", jaxga.Task(three, lambda _, w: -jnp.sum(w**4))), marks=slow
        ),
        Other(make(), "another variation, task or data", line_of(DATA), line_of(2 * DATA)),
    ],
    ids=["step size", "noise", "children", "elites", "selection", "averaging", "task", "data"],
)
def test_another_algorithm_or_task_is_refused_in_a_directory(other, tmp_path, algorithm):
    """Else the pedigree would not lead to the parents."""
    first = other.instead_of
    run(algorithm, first, directory=tmp_path)
    before = (tmp_path / "pedigree.npz").read_bytes()
    refused(
        lambda: run(other.algorithm, other.task, generations=8, directory=tmp_path),
        rf"holds a run of another algorithm or task \({other.message}\): choose another directory; to go on from",
    )
    assert (tmp_path / "pedigree.npz").read_bytes() == before
    chex.assert_trees_all_equal(
        run(algorithm, first, generations=8, directory=tmp_path).state, run(algorithm, first, generations=8).state
    )


@slow
def test_an_equal_algorithm_of_another_process_is_the_same_run(tmp_path):
    code = f"""
import jax.numpy as jnp, numpy as np, jaxga
from jaxga import nn, tasks, variation as v
task = tasks.memorization(nn.MLP((8, 4)), points=8, shape=(16,), classes=4)
algorithm = jaxga.ga(task.init, v.low_rank(v.multiplicative(v.relative(0.3))), parents=2, children=8)
print(jaxga.run(algorithm, task, generations=GENERATIONS, directory={str(tmp_path)!r}).generations)
"""
    for generations, devices in ((2, 1), (4, 2)):  # and on another number of devices
        environment = {"PATH": "", "JAX_PLATFORMS": "cpu", "PYTHONHASHSEED": str(generations)}
        environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
        program = code.replace("GENERATIONS", str(generations))
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
        assert ended.stdout == f"{generations}\n", ended.stderr


def test_a_run_goes_on_from_the_state_of_another(tmp_path):
    """With another selection; strategies and the generation count are kept, the pedigree is whole, resume is exact."""
    mutation = v.gaussian(v.multiplicative(v.absolute(0.1), up=1.5))
    old = run(make(mutation, elites=1), generations=5)
    other = make(mutation, elites=1, selection=jaxga.selection.tournament(3))
    new = run(other, state=old.state, generations=6)
    assert new.history["generation"].tolist() == [5, 6, 7, 8, 9, 10]
    assert (int(new.state.generation), new.generations) == (11, 6)
    chex.assert_trees_all_equal(run(make(mutation, elites=1), state=old.state, generations=3).state.parents,
                                run(make(mutation, elites=1), generations=8).state.parents)  # fmt: skip
    chex.assert_trees_all_equal(pedigree.replay(other, new.pedigree), new.state.source)
    file = pedigree.save(new.pedigree, tmp_path / "pedigree.npz")
    chex.assert_trees_all_equal(pedigree.replay(other, pedigree.load(file)), new.state.source)
    assert [link.generation for link in pedigree.ancestors(other, new.pedigree)] == [10, 9, 8, 7, 6, 5]
    assert analysis.trace(other, new.pedigree, lambda state: state.generation, every=3).generations.tolist() == [8, 11]
    assert analysis.trace(other, new.pedigree, lambda state: state.generation, every=3).values.tolist() == [8, 11]
    assert square(None, new.best_ever.params) == pytest.approx(float(new.state.best_fitness), rel=1e-6)
    for generations in (2, 6):
        half = run(other, state=old.state, generations=generations, directory=tmp_path / "run")
    chex.assert_trees_all_equal(half.state, new.state)
    chex.assert_trees_all_equal(pedigree.replay(other, half.pedigree), new.state.source)
    refused(
        lambda: run(other, generations=8, directory=tmp_path / "run"), r"another algorithm or task \(state .* there"
    )


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (v.absolute, "the step size is 0.05, and would begin at 0.01"),
        (lambda sigma: v.multiplicative(v.absolute(sigma), up=1.5), "inner is 0.05, and would begin at 0.01"),
    ],
)
def test_a_warning_says_that_parents_keep_their_step_sizes(size, told):
    state = run(make(v.gaussian(size(0.05))), generations=5).state
    run(make(v.gaussian(size(0.05)), elites=1), state=state, generations=1)  # the same sizes: nothing to say
    with pytest.warns(RuntimeWarning, match=told) as found:
        run(make(v.gaussian(size(0.01))), state=state, generations=1)
    assert found[0].filename == __file__


def test_a_state_that_does_not_fit_is_refused(algorithm):
    state = run(algorithm).state
    for other in (make(parents=4), make(v.gaussian(v.multiplicative(v.absolute(0.1))))):
        refused(
            lambda other=other: run(other, state=state),
            "state is of a run whose parents .* begin from its weights with founders=jaxga.trained_founders",
        )
    drawn = make(founders=jaxga.random_founders)
    refused(lambda: run(drawn, state=drawn.init(as_key(0))), "state has no parents")


# What is refused.


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda _: {"fitness": 1.0}, r"returned a dict: return jaxga.Evaluation\(fitness, metrics"),
        (lambda _: None, r"returned nothing \(None\)"),
        (lambda w: (jnp.sum(w), {}), "returned a tuple"),
        (lambda w: w, r"returned an array of shape \(3,\) and dtype float32: .* of ONE individual"),
        (lambda w: jaxga.Evaluation(w), r"returned a fitness that is an array of shape \(3,\)"),
        (
            lambda w: jaxga.Evaluation(jax.lax.complex(w[0], w[1])),
            r"a fitness that is an array of shape \(\) and dtype complex64",
        ),
        (lambda _: jaxga.Evaluation("good"), "a fitness that is a str"),
        (lambda w: jaxga.Evaluation(w[0], w), r"a tiebreak that is an array of shape \(3,\)"),
        (lambda w: jaxga.Evaluation(w[0], metrics={"a": {"b": w[0]}}), "metric 'a', which is a dict"),
        (lambda w: jaxga.Evaluation(w[0], metrics=w), r"metrics that are an array of shape \(3,\)"),
        (lambda w: Fourth(w[0], 0.0, {}, 1), "returned a Fourth"),
    ],
)
def test_what_evaluate_may_not_return_is_named(algorithm, returned, message):
    def score(key, w):
        del key
        return returned(w)

    refused(lambda: run(algorithm, jaxga.Task(three, score)), rf"evaluate \(score\) .*{message}")


class Fourth(NamedTuple):
    fitness: jax.Array
    tiebreak: float
    metrics: dict
    more: int


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: run(make(), generations=2.5), "generations is 2.5, and must be a whole number: write int"),
        (lambda: run(make(), generations=4.0), "generations is 4.0, and must be a whole number"),
        (lambda: run(make(), generations="4"), "generations is 4, and must be a whole number"),
        (lambda: run(make(), chunk=2.0), "chunk is 2.0, and must be a whole number"),
        (lambda: make(children=16.0), "children is 16.0, and must be a whole number"),
        (lambda: make(parents=1.0), "parents is 1.0, and must be a whole number"),
        (lambda: make(elites=0.5), "elites is 0.5, and must be a whole number"),
        (lambda: make(recombination=v.average(2.0)), "children is 2.0, and must be a whole number"),
        (lambda: make(v.low_rank(v.absolute(0.1), rank=1.5)), "rank is 1.5, and must be a whole number"),
        (lambda: make(v.sparse(v.absolute(0.1), weights=2.0)), "weights is 2.0, and must be a whole number"),
        (lambda: jaxga.selection.tournament(2.5), "size is 2.5, and must be a whole number"),
        (lambda: jaxga.stop.no_improvement(2.5), "generations is 2.5, and must be a whole number"),
        (lambda: tasks.memorization(nn.MLP((4,)), points=8.0, shape=(4,)), "points is 8.0, and must be a whole number"),
        (lambda: tasks.cartpole(max_steps=10.5), "max_steps is 10.5, and must be a whole number"),
        (lambda: jaxga.run_many(make, SQUARE, generations=2, seeds=1.5), "seeds is 1.5, and must be a whole number"),
        (
            lambda: jaxga.run_many(lambda parents: make(parents=parents), SQUARE, generations=2,
                                   sweep={"parents": [1, 2]}),
            "parents is a traced number, .* put it into grid, not sweep",
        ),
        (lambda: run(make(), key=0.5), r"key is 0.5: give a seed \(a whole number\) or jax.random.key"),
        (lambda: run(make(), key=jax.random.split(as_key(0))), r"key has shape \(2,\), and one key is due"),
        (lambda: run(make(), task=tasks.cartpole()), r"task is Environment, and must be a jaxga.Task"),
        (lambda: jaxga.vmapped(make(), tasks.cartpole()), r"by tasks.control\(environment, network\)"),
        (
            lambda: run(make(), jaxga.vmapped(make(), SQUARE), chunk=4, devices=1, validate_every=5),
            "chunk and devices and validate_every would have no effect, because task is an evaluator",
        ),
        (
            lambda: run(make(), jaxga.vmapped(make(), SQUARE), evaluator=jaxga.vmapped(make(), SQUARE)),
            "evaluator would have no effect",
        ),
        (lambda: make(0.1), "ga got 0.1 where a variation is due"),
        (lambda: jaxga.ga(jnp.ones(3), G, parents=1, children=4), "init is .*, and must be a function of a key"),
        (lambda: run(make(selection=lambda _, __, num: jnp.arange(num + 1))),
         r"selection .*test_newcomer.py:\d+ returned int32 of shape \(3,\), and integers of shape \(2,\) were due"),
        (lambda: run(make(selection=lambda *_: jnp.arange(2.0))), "returned float32 of shape"),
        (lambda: run(make(selection=lambda *_: [0, 1])), "returned list of shape None"),
        (lambda: run(make(selection=lambda _, __, num: jnp.arange(num) + 7)),
         "the selection chose an index in generation 0 that nobody has"),
        (lambda: jaxga.run_many(lambda: make(selection=lambda _, __, num: jnp.arange(num) - 1), SQUARE,
                                generations=2, seeds=2), "the selection chose an index that nobody has"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(use, message):
    refused(use, message)


def test_running_statistics_do_not_mutate_unnoticed():
    params = {"params": {"w": jnp.ones(3)}, "batch_stats": {"mean": jnp.zeros(3), "var": jnp.ones(3)}}
    task = jaxga.Task(lambda _: params, lambda _, p: -jnp.sum(p["params"]["w"] ** 2))
    algorithm = jaxga.ga(task.init, G, parents=1, children=4)
    refused(lambda: run(algorithm, task), r"changes them \(batch_stats/mean, batch_stats/var\): keep them outside")
    masked = jaxga.ga(task.init, v.masked(G, lambda path: "batch_stats" not in path), parents=1, children=4)
    assert run(masked, task).best.params["batch_stats"]["var"].tolist() == [1, 1, 1]


def test_a_pedigree_with_an_index_that_nobody_has_is_refused(algorithm, tmp_path):
    record = run(algorithm).pedigree
    record.recipes.indices[2, 0, 0] = 10
    file = pedigree.save(record, tmp_path / "pedigree.npz")
    refused(lambda: pedigree.load(file), r"has the index 10, and 8 children and 2 parents have 0 to 9")
    with np.load(file) as found:
        partly = {name: found[name] for name in found.files if name != "fitness"}
    np.savez(file, **partly)
    refused(lambda: pedigree.load(file), "cannot be read .*fitness")


# What is on disk.


def test_two_runs_do_not_write_in_one_directory(algorithm, tmp_path):
    def hook(*_):
        refused(lambda: run(algorithm, directory=tmp_path), f"another run is writing in {tmp_path}: wait until it is")

    run(algorithm, directory=tmp_path, hooks=[hook])
    assert run(algorithm, generations=5, directory=tmp_path).generations == 5


def test_damaged_files_are_named_and_kept(algorithm, tmp_path):
    run(algorithm, directory=tmp_path)
    lines = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(lines.replace('"generation": 1,', '"gen', 1))
    refused(lambda: run(algorithm, generations=6, directory=tmp_path), "metrics.jsonl is damaged in line 2 .*mend or")
    (tmp_path / "metrics.jsonl").write_text(lines + '{"generation": 4, "fit')  # what a crash leaves
    assert run(algorithm, generations=6, directory=tmp_path).generations == 6
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["generation"] for row in rows] == [*range(6)]
    (tmp_path / "config.json").write_text("")
    refused(lambda: run(algorithm, generations=8, directory=tmp_path), "config.json is damaged .*restore it, or")


def test_a_checkpoint_of_another_algorithm_says_what_differs(algorithm, tmp_path, capfd):
    run(algorithm, directory=tmp_path)
    like = jax.eval_shape(make(v.gaussian(v.multiplicative(v.absolute(0.1))), parents=4, children=8).init, as_key(0))
    refused(
        lambda: checkpoint.restore(tmp_path / "checkpoints", like),
        r"was saved with another algorithm \(scores/fitness float32\[2\] there, float32\[4\] here; ",
    )
    assert "Traceback" not in capfd.readouterr().err


def test_an_error_of_the_code_is_not_blamed_on_the_file(algorithm, tmp_path, monkeypatch):
    run(algorithm, directory=tmp_path)

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(checkpoint, "_grafted", broken)
    with pytest.raises(ZeroDivisionError):
        run(algorithm, generations=6, directory=tmp_path)


# What is compiled and kept.


def test_equal_algorithms_are_compiled_once(monkeypatch):
    compiled = []
    compile_once = jax.stages.Lowered.compile
    monkeypatch.setattr(jax.stages.Lowered, "compile", lambda self: compiled.append(1) or compile_once(self))
    for sigma, programs in ((0.123, None), (0.123, 0), (0.124, None)):
        compiled.clear()
        task = jaxga.Task(lambda _: jnp.ones(3), lambda _, w: -jnp.sum(w**2))
        run(jaxga.ga(task.init, v.gaussian(v.absolute(sigma)), parents=2, children=8), task)
        assert len(compiled) == programs if programs is not None else compiled


@slow
def test_programs_are_kept_in_files_by_one_line(tmp_path):
    code = """
import jax, jax.numpy as jnp, jaxga
from jaxga.variation import absolute, gaussian
jaxga.keep_programs()
algorithm = jaxga.ga(lambda key: jnp.ones(3), gaussian(absolute(0.1)), parents=2, children=16)
jaxga.run(algorithm, jaxga.Task(lambda key: jnp.ones(3), lambda key, w: -jnp.sum(w**2)), generations=2)
"""
    environment = {"PATH": "", "JAX_PLATFORMS": "cpu", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    found = []
    for _ in range(2):
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        found.append({path.name for path in (tmp_path / "cache" / "jaxga" / "programs").glob("*-cache")})
    assert any("jit_program" in name for name in found[0])
    assert found[0] == found[1]  # the second process compiled nothing new


def test_programs_with_other_data_are_not_mistaken_for_one_another():
    """Data is handed over; what is small, and functions of Python, are part of the program."""
    for size in (3, 3000):
        for value in (1.0, 2.0):
            data = jnp.full(size, value)
            assert compilation.jit(lambda x, data=data: x + data)(jnp.float32(0))[0] == value
    for place in (0, 450, 899):  # the largest that is part of a program
        data = np.arange(900, dtype=np.float32)
        data[place] = -1
        found = compilation.jit(lambda x, data=data: x + jnp.asarray(data))(jnp.float32(0))
        np.testing.assert_array_equal(found, data)
    for value in (1.0, 2.0):
        told = lambda x, value=value: np.float32(x + value)  # noqa: E731
        ask = compilation.jit(lambda x, told=told: jax.pure_callback(told, jax.ShapeDtypeStruct((), jnp.float32), x))
        assert ask(jnp.float32(0)) == value


def test_data_goes_when_its_run_is_forgotten():
    def once(number):
        data = jnp.full((200_000,), float(number))
        task = jaxga.Task(lambda _: data[:3], lambda _, w: jnp.mean(data) - jnp.sum(w**2))
        algorithm = jaxga.ga(task.init, G, parents=2, children=8)
        result = run(algorithm, task, 2)
        return float(result.state.best_fitness), result.best_ever.params.shape

    once(0)
    gc.collect()
    before = sum(array.nbytes for array in jax.live_arrays())
    for number in range(1, 3):
        once(number)
    gc.collect()
    assert sum(array.nbytes for array in jax.live_arrays()) - before < 100_000  # of 1.6 MB


# What looks wrong, and is said.


def warned(use):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        use()
    return [str(each.message) for each in caught]


def test_a_generation_without_a_fitness_is_said():
    (word,) = warned(lambda: run(make(), jaxga.Task(three, lambda *_: -jnp.inf)))
    assert "every fitness of generation 0 is minus infinity or NaN" in word
    for value, what in ((-jnp.inf, "minus infinity"), (jnp.nan, "NaN")):
        task = jaxga.Task(three, lambda _, w, value=value: jnp.where(w[0] > 100, 1.0, value))
        (word,) = warned(lambda task=task: jaxga.run_many(make, task, generations=3, seeds=2))
        assert f"every fitness of a generation was {what} in 2 of 2 runs, first in generation 0" in word


def test_whole_numbers_that_are_too_large_are_said(algorithm):
    def of(number):
        return jaxga.Task(three, lambda *_: number)

    (word,) = warned(lambda: run(algorithm, of(jnp.int32(2**24 + 1))))
    assert "fitness is a whole number of 16,777,216, and float32 holds those only up to 16,777,216" in word
    assert not warned(lambda: run(algorithm, of(jnp.int32(2**24 - 1))))
    assert not warned(lambda: run(algorithm, of(jnp.float32(2**25))))


def test_an_elite_that_was_lucky_is_said():
    """The truth is about -1; the best of many draws is kept as if it were one."""
    noisy = jaxga.Task(three, lambda key, _: -1.0 + 3 * jax.random.normal(key), jaxga.independent)
    (word,) = warned(lambda: run(make(parents=1, children=16, elites=1), noisy, generations=60))
    assert "the elite's score" in word
    assert "the task is noisy, so it may be luck. Pass reevaluate=True" in word
    assert not warned(lambda: run(make(parents=1, children=16, elites=1, reevaluate=True), noisy, generations=60))
    stuck = jaxga.Task(lambda _: jnp.zeros(3), square)  # at the optimum: children are far worse, and nothing is noisy
    algorithm = jaxga.ga(stuck.init, G, parents=1, children=16, elites=1)
    assert not warned(lambda: run(algorithm, stuck, generations=60))
    assert is_noisy(algorithm, noisy)
    assert not is_noisy(algorithm, stuck)


# What a hunter of bugs needs.


@pytest.mark.slow
def test_jax_debug_nans_finds_the_operation_in_the_users_function(algorithm):
    def score(_, w):
        return jnp.log(jnp.min(w) - 0.9) - jnp.sum(w)  # NaN once a weight is below 0.9

    with jax.debug_nans(True):
        run(algorithm)
        jaxga.population(algorithm, algorithm.init(as_key(0)))
        jaxga.run_many(make, SQUARE, generations=2, seeds=2)
        with pytest.raises(
            FloatingPointError,
            match=r"child \d+ of generation \d+, scored by score: invalid value \(nan\) encountered in log",
        ):
            run(algorithm, jaxga.Task(three, score), generations=20)


def test_jax_debug_nans_finds_it_in_a_task_that_asks_for_the_parent(algorithm):
    def score(_, w):
        return jnp.log(jnp.min(w) - 0.9) - jnp.sum(w)

    with (
        jax.debug_nans(True),
        pytest.raises(FloatingPointError, match=r"child \d+ of generation \d+, scored by .*in log"),
    ):
        run(algorithm, jaxga.paired(jaxga.Task(three, score)), generations=20)


def test_a_paired_task_of_whole_numbers_is_warned_of(algorithm):
    big = jaxga.Task(three, lambda trial, _: jnp.int32(2**25) + jnp.int32(trial.index), with_trial=True)
    with pytest.warns(RuntimeWarning, match="float32 holds those only up to"):
        run(algorithm, big, generations=1)


@pytest.mark.slow
def test_a_run_without_jit_is_the_same():
    algorithm = make(v.low_rank(v.multiplicative(v.absolute(0.1))), elites=1)
    expected = run(algorithm, generations=2)
    with jax.disable_jit():
        plain = run(algorithm, generations=2)
    np.testing.assert_array_equal(plain.pedigree.recipes.indices, expected.pedigree.recipes.indices)
    chex.assert_trees_all_close(plain.state.parents, expected.state.parents, rtol=1e-6)


@pytest.mark.slow
def test_a_run_is_the_same_with_64_bits():
    task = tasks.memorization(nn.MLP((8, 4)), points=8, shape=(16,), classes=4)

    def survivors():
        mutation = v.chain(v.uniform_crossover(), v.low_rank(v.multiplicative(v.relative(0.3))))
        algorithm = jaxga.ga(task.init, mutation, parents=2, children=8, elites=1,
                             selection=jaxga.selection.tournament(3))  # fmt: skip
        result = run(algorithm, task, 4)
        return result.pedigree.recipes.indices, jax.tree.leaves(result.state.parents.params)

    expected = survivors()
    with jax.enable_x64(True):
        chex.assert_trees_all_equal(survivors(), expected)


def test_require_whole_takes_numpy_integers():
    require_whole(1, number=np.int64(3))
    refused(lambda: require_whole(2, number=1), "number is 1, and must be 2 or more")
