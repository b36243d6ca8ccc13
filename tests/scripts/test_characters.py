"""The experiment with characters: its text, its brackets, and the transformer that both are for."""

import importlib
import json
import math
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from places import ROOT
from test_experiments import assert_few_programs, assert_quick, refusal, run

import jaxga
from jaxga import compilation

SCRIPT = str(ROOT / "experiments" / "characters.py")
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def characters():
    sys.path.insert(0, str(ROOT / "experiments"))
    yield importlib.import_module("characters")
    sys.path.remove(str(ROOT / "experiments"))


@pytest.fixture
def tiny(characters):
    """Arguments of a task with a network of 16 numbers a character."""

    def arguments(task, **others):
        small = {"layers": 1, "width": 16, "heads": 2, "context": 8, "batch": 8, "children": 8, "shortest": 2}
        args = characters.Args(task=task, **{**small, **others})
        characters.settle(args)
        return args

    return arguments


def balanced(tokens, kinds):
    """A checker in plain Python: a non-empty string that ends, and whose brackets match."""
    tokens = [int(token) for token in tokens]
    if 0 not in tokens[1:] or tokens[0] == 0:
        return False
    stack = []
    for token in tokens[: tokens.index(0)]:
        if token <= kinds:
            stack.append(token)
        elif not stack or stack.pop() != token - kinds:
            return False
    return not stack


def test_validity_is_that_of_a_plain_checker(characters):
    """Short random strings, of which many are valid by chance, and long ones of the grammar, spoiled or not."""
    asked = jax.jit(jax.vmap(characters.valid, (0, None)), static_argnums=1)
    for kinds, length in [(1, 7), (2, 5), (3, 4)]:
        tokens = jax.random.randint(KEY, (4000, length), 0, 2 * kinds + 1, jnp.int32)
        expected = [balanced(each, kinds) for each in np.asarray(tokens)]
        assert asked(tokens, kinds).tolist() == expected
        assert 20 < sum(expected) < 2000
    strings = written(characters, kinds=3, longest=20)
    assert asked(strings, 3).tolist() == [balanced(each, 3) for each in np.asarray(strings)]
    assert not asked(strings[:, :20], 3)[strings[:, 19] > 0].any()  # a string that does not end


def written(characters, kinds, longest, count=300):
    """Strings of the grammar ``[count, longest + 1]`` with an end."""
    make = jax.jit(jax.vmap(lambda key: characters.grammar(key, kinds, longest)))
    return jnp.pad(make(jax.random.split(KEY, count)), ((0, 0), (0, 1)))


@pytest.mark.parametrize(("kinds", "longest"), [(1, 2), (2, 9), (3, 24)])
def test_the_grammar_makes_balanced_strings_of_all_lengths(characters, kinds, longest):
    strings = np.asarray(written(characters, kinds, longest))
    assert all(balanced(each, kinds) for each in strings)
    lengths = (strings > 0).sum(axis=1)
    assert set(lengths) == set(range(2, longest + 1, 2))
    assert set(np.unique(strings)) == set(range(2 * kinds + 1))
    if longest > 20:
        assert len({bytes(each) for each in strings}) > 0.6 * len(strings)
        depth = np.cumsum(np.where(strings == 0, 0, np.where(strings <= kinds, 1, -1)), axis=1).max(axis=1)
        assert set(range(1, 4)) <= set(depth)


def test_a_spoiled_string_differs_in_one_bracket_and_is_not_valid(characters):
    strings = written(characters, 2, 12)
    change = jax.jit(jax.vmap(lambda key, each: characters.spoiled(key, each, 2)))
    spoiled = np.asarray(change(jax.random.split(KEY, len(strings)), strings))
    differs = spoiled != np.asarray(strings)
    assert (differs.sum(axis=1) == 1).all()
    assert ((spoiled > 0) == np.asarray(strings > 0)).all()
    assert spoiled.max() == 4
    assert not any(balanced(each, 2) for each in spoiled)
    assert differs[:, :2].sum() > 20


@pytest.mark.slow
def test_nothing_that_is_held_out_is_learned_from(characters, tiny):
    """Its paragraphs are not in the training text, and no training batch holds a character of it."""
    text = characters.read_text()
    train, held_out = ("".join(characters.ALPHABET[token] for token in part) for part in text)
    assert len(held_out) == pytest.approx(0.1 * len(train + held_out), abs=1)
    assert len(train) > 300_000
    assert set(train) <= set(characters.ALPHABET)
    assert all(character == "\n" or " " <= character <= "~" for character in characters.ALPHABET)
    paragraphs = {paragraph for paragraph in train.split("\n\n") if len(paragraph) > 40}
    assert not paragraphs & set(held_out.split("\n\n")[1:])  # the first one may have been cut

    # Where every training character is 1 and every other one is 2, nobody who is scored may see a 2.
    planted = characters.Text(np.full(200, 1, np.uint8), np.full(100, 2, np.uint8))
    task = characters.text_task(tiny("text", batch=64), planted)
    params = ignorant(jax.jit(task.init)(KEY), {1: 10.0, 2: -10.0})
    assert float(jax.jit(task.loss)(KEY, params)) < 0.01
    assert float(jax.jit(task.evaluate)(KEY, params).fitness) > -0.01
    assert float(jax.jit(task.validate)(params).metrics["nats"]) == pytest.approx(20, abs=0.01)


def ignorant(params, logits):
    """The network, changed so that it says the same of every character: these logits, and 0 for all others."""
    head = params["params"]["Dense_0"]
    bias = np.zeros(head["bias"].shape, np.float32)
    for token, logit in logits.items():
        bias[token] = logit
    head = {"kernel": jnp.zeros_like(head["kernel"]), "bias": jnp.asarray(bias)}
    return {"params": {**params["params"], "Dense_0": head}}


def test_simple_guesses_cost_what_their_entropy_is(characters):
    known = characters.guesses(np.array([0, 1, 2, 2] * 1000))
    assert known["uniform guess"] == pytest.approx(math.log(96))
    assert known["single characters"] == pytest.approx(1.5 * math.log(2))
    assert known["pairs"] == pytest.approx(0.5 * math.log(2), abs=1e-3)  # after a 2 comes 2 or 0


def test_characters_see_only_those_before_them(characters, tiny):
    net = characters.network(tiny("text"), 96)
    tokens = jax.random.randint(KEY, (2, 8), 0, 96, jnp.int32)
    params = jax.jit(net.init)(KEY, tokens)
    apply = jax.jit(net.apply)
    before, after = apply(params, tokens), apply(params, tokens.at[:, 5].add(1))
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert (before[:, 5:] != after[:, 5:]).any(axis=(0, 2)).all()


@pytest.mark.slow
def test_children_of_the_transformer_score_as_their_dense_networks_do(characters, tiny):
    args = tiny("text", width=64, sigma=0.3)  # wide enough that kernels stay in parts
    task, algorithm = characters.make(args)
    state = jax.jit(algorithm.init)(KEY)
    in_parts = jaxga.vmapped(algorithm, task)
    key = jaxga.base.generation_key(state, jaxga.base.Purpose.EVALUATION)
    children = jaxga.population(algorithm, state)
    dense = jax.jit(jax.vmap(lambda params: task.evaluate(key, params).fitness))(children.params)
    found = compilation.jit(in_parts)(state).fitness
    np.testing.assert_allclose(found, dense, atol=1e-5, rtol=0)
    assert np.ptp(dense) > 0.1
    leaves = {leaf.name: leaf for leaf in jaxga.explain(algorithm, task).leaves}
    assert leaves["params/Embed_0/embedding"].in_parts
    assert leaves["params/Block_0/Dense_0/kernel"].in_parts


@pytest.mark.slow
def test_strings_are_written_with_the_chances_that_the_network_gives(characters, tiny):
    """One token at a time from what was kept, or the whole string at once: the same logits, so the same draws."""
    net = characters.network(tiny("brackets", kinds=2), 5)
    params = jax.jit(net.init)(KEY, jnp.zeros((1, 8), jnp.int32))
    tokens = jax.jit(characters.writer(net), static_argnums=2)(jax.random.key(1), params, 32)
    read = jnp.pad(tokens[:, :-1], ((0, 0), (1, 0)))
    logits = jax.jit(net.apply)(params, read)
    noise = [jax.random.gumbel(jax.random.fold_in(jax.random.key(1), place), (32, 5)) for place in range(8)]
    np.testing.assert_array_equal(jnp.argmax(logits + jnp.stack(noise, axis=1), axis=-1), tokens)
    assert len(np.unique(tokens)) == 5


@pytest.mark.parametrize("shortest", [2, 3])
def test_fitness_is_the_part_of_the_written_strings_that_counts(characters, tiny, shortest):
    args = tiny("brackets", kinds=1, batch=2000, shortest=shortest)
    task, _ = characters.make(args)
    params = ignorant(jax.jit(task.init)(KEY), {})  # each of the three tokens with chance 1/3
    chance = sum(ways * (1 / 3) ** (2 * pairs + 1) for pairs, ways in [(1, 1), (2, 2), (3, 5)] if 2 * pairs >= shortest)
    assert float(jax.jit(task.evaluate)(KEY, params).fitness) == pytest.approx(chance, abs=0.015)
    assert float(jax.jit(task.loss)(KEY, params)) == pytest.approx(math.log(3), abs=1e-4)


@pytest.mark.slow
def test_evolution_begins_with_what_adam_trained(characters, tiny):
    args = tiny("brackets", adam=60, rate=3e-2, kinds=1, invalid=0.0)
    task, _ = characters.make(args)
    with jax.numpy_dtype_promotion("standard"):  # optax takes a float to a whole power
        trained = characters.descend(args, task)
    assert trained.losses[-10:].mean() < 0.9 * trained.losses[0]
    _, algorithm = characters.make(args, trained.params)
    state = jax.jit(algorithm.init)(KEY)
    same = jax.tree.map(lambda one, other: bool((one[0] == other).all()), state.parents.params, trained.params)
    assert all(jax.tree.leaves(same))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--heads", 3], "heads is 3, and must divide the width, 128."),
        (["--layers", 0], "layers is 0, and must be 1 or more."),
        (["--context", 10**6], "context is 1000000, and"),
        (["--children", 1], "children is 1, and must be 2 or more."),
        (["--adam", -1], "adam is -1, and must be 0 or more."),
        (["--task", "brackets", "--kinds", 4], "kinds is 4, and must be 3 or less."),
        (["--task", "brackets", "--invalid", 2], "invalid is 2.0, and must be 1 or less."),
        (["--task", "brackets", "--shortest", 13], "shortest is 13, and the longest string has 12 brackets"),
        (["--task", "brackets", "--adam", 0], "adam is 0, and must be 1 or more."),
        (["--task", "poems"], "--task"),
    ],
)
def test_nonsense_gets_one_sentence(arguments, message, tmp_path, monkeypatch, capsys):
    code, shown, err = refusal(SCRIPT, [*arguments, "--out", tmp_path / "run"], monkeypatch, capsys)
    assert (code, shown) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_explain_only_prints(tmp_path, monkeypatch, capsys):
    code, shown, _ = refusal(SCRIPT, ["--quick", "--explain", "--out", tmp_path / "run"], monkeypatch, capsys)
    assert code == 0
    assert "params/Embed_0/embedding" in shown
    assert not (tmp_path / "run").exists()


@pytest.mark.slow  # --task text: test_experiments.py
def test_quick_brackets(tmp_path):
    code, shown, err = run(
        "--quick", "--task", "brackets", "--out", tmp_path / "run", script=SCRIPT, JAX_LOG_COMPILES="1"
    )
    assert code == 0, err
    assert "before: Adam" in shown
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["name"] == "characters"
    assert summary["task"] == "brackets"
    assert 0 <= summary["counted_before"] <= 1
    assert list((tmp_path / "run").rglob("*.png"))
    assert_quick(summary)
    assert_few_programs(err)


@pytest.mark.slow
def test_brackets_resume_from_the_weights_that_they_began_with(tmp_path):
    out, small = tmp_path / "run", ["--quick", "--task", "brackets"]
    code, _, err = run(*small, "--out", out, script=SCRIPT)
    assert code == 0, err
    code, _, err = run("--resume", "--out", out, "--generations", 22, script=SCRIPT)
    assert code == 0, err
    assert json.loads((out / "summary.json").read_text())["generations"] == 22
