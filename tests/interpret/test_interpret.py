"""What user code makes of a child, computed from its parts, is what it makes of the array: for any program."""

from functools import partial
from typing import NamedTuple

import chex
import equinox as eqx
import haiku as hk
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from jax import lax

import jaxga
from jaxga import variation as v
from jaxga.interpret import by_parts, jaxprs, walk, with_rule
from jaxga.lowrank import LowRank, add_factors, dense, is_low_rank

KEY = jax.random.key(0)


def normal(*shape, seed=1):
    return jax.random.normal(jax.random.key(seed), shape)


# Models of every library that a user may bring.


class Perceptron(linen.Module):
    dtype: object = None

    @linen.compact
    def __call__(self, x):
        return linen.Dense(4, dtype=self.dtype)(linen.relu(linen.Dense(12, dtype=self.dtype)(x)))


class Convolutions(linen.Module):
    """With and without padding, in groups, dilated, one for each channel, transposed."""

    @linen.compact
    def __call__(self, x):
        x = linen.relu(linen.Conv(4, (5, 4), strides=2, padding="SAME")(x))
        x = linen.relu(linen.Conv(8, (3, 3), padding="VALID", feature_group_count=2)(x))
        x = linen.relu(linen.Conv(8, (3, 2), strides=(2, 1), padding=((1, 2), (0, 1)), kernel_dilation=2)(x))
        x = linen.relu(linen.Conv(8, (3, 3), feature_group_count=8)(x))
        x = linen.relu(linen.ConvTranspose(4, (3, 3), strides=(2, 2))(x))
        return linen.Dense(3)(x.reshape(x.shape[0], -1))


class Recurrent(linen.Module):
    cell: type = linen.OptimizedLSTMCell

    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(linen.RNN(self.cell(8))(x)[:, -1])


class Block(linen.Module):
    @linen.compact
    def __call__(self, x):
        x = x + linen.MultiHeadDotProductAttention(num_heads=2)(linen.LayerNorm()(x))
        return x + linen.Dense(16)(linen.gelu(linen.Dense(32)(linen.LayerNorm()(x))))


class Transformer(linen.Module):
    """One table for what goes in and what comes out."""

    @linen.compact
    def __call__(self, tokens):
        table = linen.Embed(20, 16)
        place = self.param("place", linen.initializers.normal(0.1), (tokens.shape[1], 16))
        return table.attend(linen.LayerNorm()(Block()(table(tokens) + place)))


class Normed(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(4)(linen.BatchNorm(use_running_average=False)(linen.Dense(8)(x)))


class Layer(linen.Module):
    @linen.compact
    def __call__(self, x, _):
        return x + linen.tanh(linen.Dense(x.shape[-1])(x)), None


class Stacked(linen.Module):
    """Layers by a scan over a stack of weights, each computed again for a gradient."""

    @linen.compact
    def __call__(self, x):
        stack = linen.scan(linen.remat(Layer), variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        return stack()(x, None)[0]


class Model(NamedTuple):
    init: object  # key -> params
    apply: object  # (params, x) -> y
    x: jax.Array
    built: frozenset = frozenset()  # leaves that are built though nothing is cheaper so


def of_linen(module, x, built=()):
    return Model(lambda key: {"params": module.init(key, x)["params"]}, module.apply, x, frozenset(built))


def of_batch_norm(x):
    module = Normed()
    apply = lambda params, x: module.apply(params, x, mutable=["batch_stats"])[0]  # noqa: E731
    return Model(lambda key: {"params": module.init(key, x)["params"]}, apply, x)


def of_nnx(x):
    class Network(nnx.Module):
        def __init__(self, rngs):
            self.first, self.second = nnx.Linear(10, 12, rngs=rngs), nnx.Linear(12, 4, rngs=rngs)

        def __call__(self, x):
            return self.second(nnx.relu(self.first(x)))

    graph, _ = nnx.split(Network(nnx.Rngs(0)), nnx.Param)
    init = lambda key: nnx.split(Network(nnx.Rngs(params=key)), nnx.Param)[1]  # noqa: E731
    return Model(init, lambda params, x: nnx.merge(graph, params)(x), x)


def of_equinox(make, x, built=()):
    static = eqx.partition(make(KEY), eqx.is_inexact_array)[1]
    init = lambda key: eqx.partition(make(key), eqx.is_inexact_array)[0]  # noqa: E731
    return Model(init, lambda params, x: jax.vmap(eqx.combine(params, static))(x), x, frozenset(built))


def of_haiku(function, x):
    network = hk.without_apply_rng(hk.transform(function))
    return Model(lambda key: network.init(key, x), network.apply, x)


def unrolled(x):
    core = hk.LSTM(8)
    return hk.dynamic_unroll(core, jnp.swapaxes(x, 0, 1), core.initial_state(x.shape[0]))[0][-1]


class EquinoxConv(eqx.Module):
    conv: eqx.nn.Conv2d
    linear: eqx.nn.Linear

    def __init__(self, key):
        self.conv, self.linear = eqx.nn.Conv2d(3, 4, 3, 2, key=key), eqx.nn.Linear(36, 5, key=key)

    def __call__(self, x):
        return self.linear(jax.nn.relu(self.conv(x)).reshape(-1))


def rearranged(p, x):
    """Weights that are summed, sliced, scaled, turned and joined; products of many axes."""
    h = jnp.einsum("bti,ihk->bhtk", x, p["q"])
    y = jnp.einsum("bhtk,hki->bti", jnp.tanh(h), p["o"])
    z = jnp.tensordot(y, p["r"].T, axes=([2], [0])) @ (-0.5 * p["r"])
    z = z @ jnp.concatenate([p["s"][:, 4:], p["s"][:, :4]], axis=1) + z @ p["s"][::-1].T
    first, second = jnp.split(p["s"], 2, axis=0)
    z = z + jnp.pad(x[..., :8] @ first + x[..., 8:] @ second, ((0, 0), (0, 0), (0, 0)))
    w = jnp.stack([p["s"], p["t"]]).sum(0).reshape(2, 8, 16)
    return jnp.einsum("bti,gik->gbtk", z[..., :8], w) + p["s"].sum(0) + p["s"][3] + p["s"].mean() + p["t"].std()


def controlled(p, x):
    """Loops, branches, functions with derivatives of their own, another program for another platform."""

    @jax.custom_vjp
    def reverse(w, x):
        return x @ w

    @jax.custom_jvp
    def forward(w, x):
        return x @ w

    reverse.defvjp(lambda w, x: (x @ w, (w, x)), lambda r, g: (r[1].T @ g, g @ r[0].T))
    forward.defjvp(lambda p, t: (p[1] @ p[0], p[1] @ t[0] + t[1] @ p[0]))
    x = lax.fori_loop(0, 3, lambda _, h: jnp.tanh(h @ p["a"]), x)
    x = lax.while_loop(lambda h: (h @ p["b"]).sum() > 1e9, lambda h: h @ p["b"], x)
    x = lax.cond(x.sum() > 0, lambda x: x @ p["a"], lambda x: x @ p["b"].T, x)
    x = jax.checkpoint(lambda w, x: jnp.sin(x @ w))(p["a"], x)
    x = reverse(p["b"], x) + forward(p["a"], x)
    x = lax.platform_dependent(x, p["a"], cpu=lambda x, w: x @ w, default=lambda x, w: (w.T @ x.T).T)
    w, _ = lax.scan(lambda w, _: (w @ p["a"], None), p["b"], None, length=2)  # a carry that starts as a weight
    return x @ w


def learned(p, x):
    """Two steps of gradient descent within a life."""
    loss = lambda p: jnp.mean((Perceptron().apply(p, x) - 1) ** 2)  # noqa: E731
    for _ in range(2):
        p = jax.tree.map(lambda w, g: w - 0.1 * g, p, jax.grad(loss)(p))
    return Perceptron().apply(p, x)


def matrices(**shapes):
    def init(key):
        keys = jax.random.split(key, len(shapes))
        return {name: jax.random.normal(k, s) / 4 for (name, s), k in zip(shapes.items(), keys, strict=True)}

    return init


GROUPED = {"params/Conv_1/kernel", "params/Conv_3/kernel"}
TOKENS = jax.random.randint(jax.random.key(3), (3, 6), 0, 20)
HEADS = {f"params/Block_0/MultiHeadDotProductAttention_0/{name}/bias" for name in ("key", "query", "value")}
MODELS = {
    "flax perceptron": of_linen(Perceptron(), normal(6, 10)),
    "flax perceptron, many examples": of_linen(Perceptron(), normal(70, 10)),
    "flax convolutions": of_linen(Convolutions(), normal(2, 19, 17, 3), GROUPED),
    "jaxga.nn.ConvNet": of_linen(jaxga.nn.ConvNet(5, (4, 6), (4, 3), (2, 1), 16), normal(2, 13, 13, 3)),
    "flax LSTM": of_linen(Recurrent(), normal(3, 5, 6)),
    "flax GRU": of_linen(Recurrent(linen.GRUCell), normal(3, 5, 6)),
    "flax transformer, tied": of_linen(Transformer(), TOKENS, {"params/place", *HEADS}),
    "flax BatchNorm": of_batch_norm(normal(6, 10)),
    "flax scan and remat": of_linen(Stacked(), normal(5, 8), {"params/ScanCheckpointLayer_0/Dense_0/bias"}),
    "nnx": of_nnx(normal(6, 10)),
    "equinox perceptron": of_equinox(lambda key: eqx.nn.MLP(10, 4, 12, 2, key=key), normal(6, 10)),
    "equinox convolution": of_equinox(EquinoxConv, normal(2, 3, 8, 8), {"conv/weight", "conv/bias"}),
    "haiku perceptron": of_haiku(lambda x: hk.nets.MLP([12, 4])(x), normal(6, 10)),
    "haiku LSTM": of_haiku(unrolled, normal(3, 5, 6)),
    "rearranged": Model(
        matrices(q=(16, 4, 6), o=(4, 6, 16), r=(24, 16), s=(16, 16), t=(16, 16)), rearranged, normal(2, 3, 16),
        frozenset({"s", "t"}),
    ),
    "control flow": Model(matrices(a=(8, 8), b=(8, 8)), controlled, normal(5, 8), frozenset({"b"})),
    "gradient steps": Model(lambda key: Perceptron().init(key, normal(6, 10)), learned, normal(6, 10)),
}  # fmt: skip
QUICK = {"flax perceptron, many examples", "flax convolutions", "flax LSTM", "flax transformer, tied", "nnx",
         "equinox perceptron", "haiku perceptron", "rearranged", "control flow"}  # fmt: skip
every_model = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in MODELS]
)


def brood(params, rank=1, size=3):
    """Low-rank children of one parent, and their axes for ``vmap``."""
    leaves, treedef = jax.tree.flatten(params)

    def child(key):
        new = []
        for number, leaf in enumerate(leaves):
            left, right = jax.random.split(jax.random.fold_in(key, number))
            if leaf.ndim < 2:
                new.append(leaf + 0.1 * jax.random.normal(left, leaf.shape))
                continue
            left = 0.1 * jax.random.normal(left, (leaf.size // leaf.shape[-1], rank))
            new.append(add_factors(leaf, left, jax.random.normal(right, (rank, leaf.shape[-1]))))
        return treedef.unflatten(new)

    axes = treedef.unflatten([LowRank(None, 0, 0) if leaf.ndim > 1 else 0 for leaf in leaves])
    return jax.vmap(child, out_axes=axes)(jax.random.split(jax.random.key(7), size)), axes


def assert_close(found, expected, tolerance=1e-5):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        scale = max(float(np.abs(other).max(initial=0)), 1e-6)
        np.testing.assert_allclose(np.asarray(one) / scale, np.asarray(other) / scale, atol=tolerance)


@pytest.mark.parametrize("rank", [1, pytest.param(2, marks=pytest.mark.slow)])
@every_model
def test_models_are_computed_from_parts_as_from_arrays(name, rank):
    """On inputs that a brood shares, and on inputs of their own; and what is built is what has to be."""
    model = MODELS[name]
    children, axes = brood(model.init(KEY), rank)
    own = jnp.stack([model.x] * 3)
    own = own if own.dtype == jnp.int32 else own * (1 + jnp.arange(3.0).reshape(3, *[1] * model.x.ndim))
    told = []
    token = walk.report.set(told)
    try:
        for x, axis in ((model.x, None), (own, 0)):
            found = jax.jit(jax.vmap(by_parts(model.apply), in_axes=(axes, axis)))(children, x)
            expected = jax.jit(jax.vmap(lambda p, x: model.apply(dense(p), x), in_axes=(axes, axis)))(children, x)
            assert_close(found, expected)
    finally:
        walk.report.reset(token)
    built = {name for each in told if not each.cheaper for name in each.name.split(" + ")}
    if name == "gradient steps":
        assert built  # what a gradient step makes of a weight is an array
    else:
        assert built == model.built


@pytest.mark.parametrize("name", ["flax perceptron", "flax LSTM", "flax transformer, tied", "jaxga.nn.ConvNet"])
def test_there_is_a_gradient_through_the_parts(name):
    """By the inputs that go on, for a brood and for one child."""
    model = MODELS[name]
    children, axes = brood(model.init(KEY))
    scale = jnp.float32(1.3)
    own = lambda x, scale: x if x.dtype == jnp.int32 else x * scale  # noqa: E731

    def loss(apply, params, scale):
        return jnp.mean(apply(params, own(model.x, scale)) ** 2) * scale

    dense_apply = lambda params, x: model.apply(dense(params), x)  # noqa: E731
    for apply in (jax.grad, lambda f: jax.jacfwd(f)):
        of_brood = lambda f, apply=apply: jax.jit(  # noqa: E731
            jax.vmap(lambda params: apply(lambda scale: loss(f, params, scale))(scale), in_axes=(axes,))
        )(children)
        assert_close(of_brood(by_parts(model.apply)), of_brood(dense_apply), 1e-4)


# Programs drawn at random.


def drawn_program(rng):
    """A function of (weights, x [5, 4]) that does a few random things with its weights, and its shapes."""
    shapes = {name: tuple(rng.choice([1, 2, 3, 4, 6], rng.integers(1, 4))) for name in "abc"} | {"w": (4, 4)}
    steps = [int(n) for n in rng.integers(0, 12, 6)]
    numbers = rng.random(20)

    def rearrange(w, step):
        axis = step % w.ndim
        if step == 0:
            return w.reshape(-1)
        if step == 1:
            return jnp.moveaxis(w, 0, -1)
        if step == 2:
            return w[..., ::-1]
        if step == 3:
            return jnp.concatenate([w, 2 * w], axis)
        if step == 4:
            return w[tuple([slice(None)] * axis + [slice(0, max(w.shape[axis] // 2, 1))])]
        if step == 5:
            return w.sum(axis, keepdims=True)
        if step == 6:
            return jnp.take(w, jnp.array([0, -1, 0]), axis=axis, mode="wrap")
        if step == 7:
            return -w / 3
        if step == 8:
            return lax.dynamic_slice_in_dim(w, jnp.int32(numbers[0] * 3), 1, axis)
        if step == 9:
            return jnp.tanh(w)
        if step == 10:
            return lax.cond(w.sum() > 0, lambda: w, lambda: -w)
        return jnp.squeeze(w[None].astype(jnp.float32), 0)

    def program(p, x):
        total = 0.0
        for name in "abc":
            w = p[name]
            for step in steps:
                w = rearrange(w, step)
                other = jnp.ones(w.shape[-1:]) if step % 2 else jnp.cos(w).reshape(-1, w.shape[-1])[:2].T
                y = jnp.tensordot(w, other, 1)
                total = total + jnp.mean(y)

        def body(h, k):
            return jnp.tanh(h @ p["w"]) + k, (h @ p["w"].T).sum()

        h, sums = lax.scan(body, x, jnp.asarray(numbers[:3], jnp.float32))
        h = lax.while_loop(lambda h: jnp.abs(h).max() > 2.0, lambda h: 0.3 * (h @ p["w"]), h)
        return total + h.sum() + sums.sum()

    return program, shapes


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 60))])
def test_programs_drawn_at_random(seed):
    program, shapes = drawn_program(np.random.default_rng(seed))
    children, axes = brood(matrices(**shapes)(KEY), rank=1 + seed % 2)
    x = normal(5, 4)
    found = jax.jit(jax.vmap(by_parts(program), in_axes=(axes, None)))(children, x)
    expected = jax.jit(jax.vmap(lambda p, x: program(dense(p), x), in_axes=(axes, None)))(children, x)
    assert_close(found, expected, 3e-5)


# What a stranger would try.


def child_of(**shapes):
    """One low-rank child, and the same as arrays."""
    children, axes = brood(matrices(**shapes)(KEY), rank=2, size=1)
    one = jax.tree.map(
        lambda axis, leaf: leaf if axis is None else leaf[0], axes, children, is_leaf=lambda a: a is None
    )
    return one, dense(one)


STRANGE = {
    "weight penalty": lambda p: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(p)),
    "optax.tree.norm": optax.tree.norm,
    "ravel_pytree": lambda p: jax.flatten_util.ravel_pytree(p)[0],
    "comparison": lambda p: jnp.sum(p["w"] > 0),
    "dot_general": lambda p: lax.dot_general(normal(3, 6), p["w"], (((1,), (0,)), ((), ()))),
    "product of weights": lambda p: p["w"] @ p["v"],
    "product with itself": lambda p: p["w"].T @ p["w"],
    "quotient by itself": lambda p: p["w"] / p["w"],
    "tied": lambda p: normal(3, 6) @ p["w"] @ p["w"].T,
    "stop_gradient": lambda p: normal(3, 6) @ lax.stop_gradient(p["w"]),
    "gradient": lambda p: jax.grad(lambda w: jnp.sum(jnp.tanh(normal(3, 6) @ w)))(p["w"]),
    "hessian": lambda p: jax.hessian(lambda w: jnp.sum(jnp.tanh(normal(3, 6) @ w)))(p["w"]),
    "bfloat16": lambda p: (normal(3, 6).astype(jnp.bfloat16) @ p["w"].astype(jnp.bfloat16)).astype(jnp.float32),
    "complex": lambda p: jnp.abs(
        normal(3, 6).astype(jnp.complex64) @ (p["w"].astype(jnp.complex64) + jnp.complex64(1j))
    ),
    "float16": lambda p: (normal(3, 6).astype(jnp.float16) @ p["w"].astype(jnp.float16)).astype(jnp.float32),
    "integers": lambda p: (10 * p["w"]).astype(jnp.int32).sum(),
    "batch of products": lambda p: jnp.einsum("bij,bjk->bik", normal(2, 3, 6), p["b"]),
    "eigenvalues": lambda p: jnp.linalg.svd(p["w"], compute_uv=False),
    "sorted": lambda p: jnp.sort(p["w"], axis=1),
    "loop over layers": lambda p: lax.scan(lambda h, w: (jnp.tanh(h @ w), None), normal(3, 4), p["s"])[0],
    "vmap over layers": lambda p: jax.vmap(lambda w: jnp.tanh(normal(3, 4) @ w))(p["s"]),
    "map over layers": lambda p: lax.map(lambda w: w.sum(), p["s"]),
    "row": lambda p: p["w"][2],
    "rows": lambda p: p["w"][jnp.array([0, 5, 5])],
    "column": lambda p: p["w"][:, 1],
    "beyond the end": lambda p: jnp.nan_to_num(jnp.take(p["w"], jnp.array([0, 99]), axis=0)),
    "written to": lambda p: p["w"].at[0].set(0.0),
    "nothing": lambda _: jnp.float32(1.0),
    "itself": lambda p: p,
    "empty": lambda p: p["w"][:0].sum(),
    "convolution of one axis": lambda p: jnp.convolve(normal(9), p["w"][:, 0]),
    "callback": lambda p: jax.pure_callback(np.sum, jax.ShapeDtypeStruct((), jnp.float32), p["w"]),
    "print": lambda p: jax.debug.callback(lambda _: None, p["w"]) or p["w"].sum(),
}


@pytest.mark.parametrize("name", list(STRANGE))
def test_user_code_sees_arrays(name):
    low_rank, arrays = child_of(w=(6, 4), v=(4, 5), b=(2, 6, 4), s=(3, 4, 4))
    tolerance = 0.03 if "16" in name else 1e-5
    assert_close(jax.jit(by_parts(STRANGE[name]))(low_rank), jax.jit(STRANGE[name])(arrays), tolerance)


def test_nothing_is_built_for_half_precision_and_looking_up():
    low_rank, _ = child_of(w=(60, 40), v=(4, 5), b=(2, 6, 4), s=(3, 4, 4))
    told = []
    token = walk.report.set(told)
    for function in (
        lambda p: jnp.ones((3, 60), jnp.bfloat16) @ p["w"].astype(jnp.bfloat16),
        lambda p: jnp.take(p["w"], jnp.arange(3), axis=0),
        lambda p: lax.scan(lambda h, w: (jnp.tanh(h @ w), None), normal(3, 4), p["s"])[0],
    ):
        jax.eval_shape(by_parts(function), low_rank)
    walk.report.reset(token)
    assert told == []


def test_params_that_do_not_come_first_are_refused():
    low_rank, _ = child_of(w=(3, 4))
    with pytest.raises(jaxga.InputError, match="by_parts takes the params first"):
        by_parts(lambda _, p: jnp.ones(3) @ p["w"])(jax.random.key(0), low_rank)


def test_a_part_of_a_program_on_several_devices_is_right():
    mesh = jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Auto,))
    low_rank, arrays = child_of(w=(6, 4))
    spec = jax.sharding.PartitionSpec
    model, shared = MODELS["flax LSTM"], spec()
    children, axes = brood(model.init(KEY))
    place = partial(jax.shard_map, mesh=mesh, in_specs=shared, out_specs=shared)
    of_array = jax.vmap(lambda p: model.apply(dense(p), model.x), in_axes=(axes,))
    of_parts = jax.vmap(lambda p: by_parts(model.apply)(p, model.x), in_axes=(axes,))
    for check in (True, False):
        part = place(lambda x, w: x @ w, check_vma=check)
        found = jax.jit(by_parts(lambda p, part=part: part(normal(3, 6), p["w"])))(low_rank)
        assert_close(found, normal(3, 6) @ arrays["w"])
        assert_close(jax.jit(place(of_parts, check_vma=check))(children), of_array(children))


def test_under_disable_jit_user_code_meets_numbers():
    low_rank, arrays = child_of(w=(6, 4))
    seen = []
    with jax.disable_jit():
        by_parts(lambda p: seen.append(np.asarray(p["w"])))(low_rank)
    np.testing.assert_allclose(seen[0], arrays["w"], rtol=1e-6)


def test_a_function_may_have_a_better_way():
    """Also within jit and scan; under a vmap or a gradient of its own it is the function."""
    asked = []

    def of_parts(w, x):
        asked.append(w)
        return x @ w.dense() + 100

    product = with_rule(lambda w, x: x @ w, of_parts)
    low_rank, arrays = child_of(w=(6, 4), v=(4, 5))
    x = normal(3, 6)
    plain = x @ arrays["w"]
    assert_close(product(arrays["w"], x), plain)
    assert_close(by_parts(lambda p: jax.jit(product)(p["w"], x))(low_rank), plain + 100)
    scanned = lambda p: lax.scan(lambda h, _: (h, product(p["w"], x)), 0, None, length=2)[1]  # noqa: E731
    assert_close(by_parts(scanned)(low_rank), jnp.stack([plain + 100] * 2))
    assert len(asked) == 2
    assert all(isinstance(w, LowRank) for w in asked)
    batched = lambda p: jax.vmap(lambda row: product(p["w"], row))(x)  # noqa: E731
    slope = lambda p: jax.grad(lambda w: product(w, x).sum())(p["w"])  # noqa: E731
    assert_close(by_parts(batched)(low_rank), plain)
    assert_close(by_parts(slope)(low_rank), slope(arrays))
    assert len(asked) == 2


def test_leaves_that_stay_in_parts():
    low_rank, arrays = child_of(w=(6, 4), v=(4, 5))
    kept = by_parts(lambda p: {"w": 2 * p["w"], "v": jnp.tanh(p["v"]), "same": p["v"]}, keep=True)(low_rank)
    assert [is_low_rank(kept[name]) for name in ("w", "v", "same")] == [True, False, True]
    assert kept["same"].base is low_rank["v"].base
    assert_close(dense(kept), {"w": 2 * arrays["w"], "v": jnp.tanh(arrays["v"]), "same": arrays["v"]})


# The small file that knows what programs look like inside.


def only(function, *arguments):
    closed, _ = jaxprs.trace(function, *arguments)
    body, _ = jaxprs.parts_of(closed)
    return body.eqns[-1]


def test_forms_of_programs_are_known_in_this_version():
    x = jnp.ones(3)
    scan = jaxprs.scan_of(only(lambda x: lax.scan(lambda c, y: (c + x, y), x, jnp.ones((2, 3))), x))
    assert (scan.constants, scan.carries, scan.options["length"]) == (1, 1, 2)
    loop = jaxprs.while_of(only(lambda x: lax.while_loop(lambda c: c.sum() < x.sum(), lambda c: c + x, x), x))
    assert (loop.of_condition, loop.of_body) == (1, 1)
    cond = jaxprs.cond_of(only(lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x), x))
    assert (len(cond.branches), cond.platforms) == (2, None)
    assert jaxprs.remat_of(only(jax.checkpoint(jnp.sin), x)) is not None
    assert jaxprs.call_of(only(jax.jit(lambda x: x + 1), x)) is not None
    assert jaxprs.derivative_of(only(jax.nn.relu, x)) is not None


def test_where_a_form_is_not_known_weights_are_built_and_it_is_said(monkeypatch):
    low_rank, arrays = child_of(w=(6, 4), s=(3, 4, 4))
    for form in ("scan_of", "while_of", "cond_of", "remat_of", "call_of", "derivative_of"):
        monkeypatch.setattr(jaxprs, form, lambda _: None)

    def program(p):
        h = jax.jit(lambda w: jax.nn.relu(normal(3, 6) @ w))(p["w"])
        h = lax.scan(lambda h, w: (jax.checkpoint(jnp.tanh)(h @ w), None), h, p["s"])[0]
        return lax.cond(h.sum() > 0, lambda: h @ p["s"][0], lambda: h)

    told = []
    token = walk.report.set(told)
    found = jax.jit(by_parts(program))(low_rank)
    walk.report.reset(token)
    assert_close(found, program(arrays))
    assert {"scan", "cond"} < {each.operation for each in told}


# In the whole of jaxga.


def made(name, mutation=None, **options):
    model = MODELS[name]
    evaluate = lambda _, params: -jnp.mean((model.apply(params, model.x) - 0.3) ** 2)  # noqa: E731
    task = jaxga.Task(model.init, evaluate)
    mutation = v.low_rank(v.relative(0.1)) if mutation is None else mutation
    return jaxga.ga(model.init, mutation, **{"parents": 2, "children": 8} | options), task


WHOLE_RUNS = {"flax perceptron, many examples"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in WHOLE_RUNS else [pytest.mark.slow]) for name in MODELS]
)
def test_models_evolve_resume_and_replay_on_any_number_of_devices(name, tmp_path):
    algorithm, task = made(name)
    run = partial(jaxga.run, algorithm, task, key=1, chunk=2)
    whole = run(generations=3, directory=tmp_path / "whole")
    run(generations=1, directory=tmp_path / "parts")
    chex.assert_trees_all_equal(run(generations=3, directory=tmp_path / "parts").state, whole.state)
    again = jaxga.pedigree.replay(algorithm, whole.pedigree)
    chex.assert_trees_all_equal(again.parents, whole.state.parents)
    state, evaluator = algorithm.init(jax.random.key(5)), jaxga.vmapped(algorithm, task, 2)
    one = jax.jit(evaluator)(state).fitness
    four = jax.jit(jaxga.sharded(evaluator, jax.devices()[:4]))(state).fitness
    np.testing.assert_array_equal(one, four)
    assert_close(one, jax.jit(jax.vmap(partial(task.evaluate, None)))(jaxga.population(algorithm, state).params))


def test_explain_names_what_forces_a_weight_to_be_built():
    shapes = {"first": (100, 50), "second": (50, 40), "bias": (40,)}
    x = normal(32, 100)

    def evaluate(_, p):
        return jnp.mean(x @ p["first"] @ jnp.tanh(p["second"]) + p["bias"])

    algorithm = jaxga.ga(matrices(**shapes), v.low_rank(v.relative(0.1)), parents=1, children=8)
    found = jaxga.explain(algorithm, jaxga.Task(matrices(**shapes), evaluate))
    leaves = {leaf.name: leaf for leaf in found.leaves}
    assert [leaves[name].in_parts for name in shapes] == [True, False, False]
    assert [(each.operation, each.cheaper) for each in leaves["second"].built] == [("tanh", False)]
    assert "test_interpret.py" in leaves["second"].built[0].place
    assert leaves["bias"].rank is None
    text = str(found)
    assert "in parts" in text
    assert "built for tanh (test_interpret.py:" in text


def test_explain_a_game():
    game = jaxga.tasks.envpool_game("CartPole-v1", jaxga.nn.MLP((64, 2)))
    found = jaxga.explain(jaxga.ga(game.init, v.low_rank(v.relative(0.1)), parents=1, children=8), game)
    assert [leaf.rank for leaf in found.leaves if leaf.name.endswith("kernel")] == [1, 1]
    hidden = game._replace(observation=None)
    with pytest.raises(jaxga.InputError, match=r"does not say what it shows: give Game\(observation"):
        jaxga.explain(jaxga.ga(game.init, v.low_rank(v.relative(0.1)), parents=1, children=8), hidden)


@pytest.mark.parametrize(
    "after",
    [
        v.stateless(lambda _, p: jax.tree.map(lambda w: 2 * w, p)),
        v.scaled(v.absolute(2.0), lambda _, p, sizes: jax.tree.map(lambda w, size: size * w, p, sizes)),
        jaxga.Variation(lambda _: (), lambda _, i, __: i._replace(params=jax.tree.map(lambda w: 2 * w, i.params))),
        v.projected(v.stateless(lambda _, p: p), lambda leaf, *_: 2 * leaf),
    ],
    ids=["stateless", "scaled", "variation", "projection"],
)
def test_variations_of_users_see_arrays(after):
    """Doubling a child doubles it: base, left and right apart would be more or less."""
    params = matrices(w=(6, 4), v=(3,))(KEY)
    first = v.low_rank(v.absolute(0.1))
    both = v.chain(first, after)
    context = lambda parent: jaxga.base.Context(jnp.int32(0), parent)  # noqa: E731
    parent = jaxga.Individual(params, both.init(params))
    child = both.apply(KEY, parent, context(parent))
    alone = jaxga.Individual(params, first.init(params))
    once = first.apply(jax.random.split(KEY, 2)[0], alone, context(alone))
    assert_close(dense(child.params), jax.tree.map(lambda w: 2 * w, dense(once.params)))


def test_who_is_viable_is_asked_of_arrays():
    shapes = {"w": (6, 4)}
    algorithm = jaxga.ga(
        matrices(**shapes), v.low_rank(v.absolute(1.0)), parents=1, children=16,
        viable=lambda child: optax.tree.norm(child.params) < 5.5,
    )  # fmt: skip
    state = algorithm.init(jax.random.key(0))
    fitness = jax.jit(jaxga.vmapped(algorithm, jaxga.Task(matrices(**shapes), lambda *_: 0.0), 4))(state).fitness
    norms = jax.vmap(lambda w: jnp.sqrt(jnp.sum(w**2)))(jaxga.population(algorithm, state).params["w"])
    assert 0 < np.isinf(fitness).sum() < 16
    np.testing.assert_array_equal(np.isinf(fitness), norms >= 5.5)
