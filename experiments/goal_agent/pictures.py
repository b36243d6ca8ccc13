"""Pictures of what was learned."""

from pathlib import Path
from typing import Any

import numpy as np

from goal_agent import seeing, sprites
from jaxga import report


def cells(env: str, states: np.ndarray) -> np.ndarray:
    """Row and column ``[n, 2]`` of one-hot states of the rooms or of the sea."""
    if env == "four-rooms":
        half = states.shape[-1] // 2
        return np.stack([states[..., :half].argmax(-1), states[..., half:].argmax(-1)], -1)
    side = round(states.shape[-1] ** 0.5)
    return np.stack(np.divmod(states.argmax(-1), side), -1)


def plane(codes: np.ndarray) -> np.ndarray:
    """Codes ``[n, c]`` on their two widest directions, ``[n, 2]``."""
    centred = codes - codes.mean(axis=0)
    return centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T


def draw(
    path: Path, env: str, title: str, curves: dict[str, np.ndarray], rounds: np.ndarray, more: dict[str, Any]
) -> None:
    """Curves of all seeds; and of the first seed values of goals from the start, proposals over time, codes.

    Args:
      path: of the picture.
      env: name of the environment.
      title: above it.
      curves: ``[R, tests]`` by name.
      rounds: ``[tests]``.
      more: "targets" ``[G, d]``, "worth" ``[G]``, "proposed" ``[tests, n, d]``, and with an autoencoder "codes"
        ``[G, c]``; or nothing.
    """
    from matplotlib.figure import Figure

    grid = env in ("four-rooms", "deep-sea") and more
    panels = (4 if "codes" in more else 3) if grid else 1
    figure = Figure(figsize=(4.6 * panels + 0.6, 3.9), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    report.draw_curves(axes[0], [report.Curve(name, rounds, values) for name, values in curves.items()])
    axes[0].set(xlabel="rounds")
    if grid:
        _grid(figure, axes[1:], env, more)
    figure.suptitle(title, fontsize=11)
    figure.savefig(path, dpi=130)


def _grid(figure: Any, axes: Any, env: str, more: dict[str, Any]) -> None:
    where = cells(env, more["targets"])
    side = where.max() + 1
    values = np.full((side, side), np.nan)
    values[tuple(where.T)] = more["worth"]
    image = axes[0].imshow(values, cmap="viridis")
    axes[0].set(title="value of goals from the start", facecolor="0.85")
    figure.colorbar(image, ax=axes[0], shrink=0.8)
    tests, number = more["proposed"].shape[:2]
    proposed = cells(env, more["proposed"]).reshape(-1, 2) + np.random.default_rng(0).uniform(
        -0.3, 0.3, (tests * number, 2)
    )
    dots = axes[1].scatter(proposed[:, 1], proposed[:, 0], c=np.repeat(np.arange(tests), number), s=6, cmap="plasma")
    axes[1].set(title="goals proposed, by test", xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5), aspect="equal")
    figure.colorbar(dots, ax=axes[1], shrink=0.8)
    if "codes" in more:
        flat = plane(more["codes"])
        dots = axes[2].scatter(flat[:, 0], flat[:, 1], c=where.sum(axis=1), s=14, cmap="viridis")
        axes[2].set(title="codes of states, by row + column")
        figure.colorbar(dots, ax=axes[2], shrink=0.8)


def draw_seen(path: Path, size: int, found: dict[str, seeing.Seen]) -> None:
    """Some pictures, and what each way of learning makes of them."""
    from matplotlib.figure import Figure

    every = sprites.pictures(size).reshape(-1, size, size)
    some = np.linspace(0, len(every) - 1, 6).astype(int)
    rows = {"shown": every} | {name: one.pictures for name, one in found.items()}
    figure = Figure(figsize=(8.6, 1.5 * len(rows) + 0.3), layout="constrained")
    for line, (name, images) in zip(figure.subplots(len(rows), 6), rows.items(), strict=True):
        for axes, image in zip(line, images[some], strict=True):
            axes.imshow(image, cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=8)
    figure.savefig(path, dpi=130)
