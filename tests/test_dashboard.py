"""One page about a run."""

import re
import shutil
import subprocess
import threading

import jax.numpy as jnp
import numpy as np
import pytest

import jaxga
from jaxga import dashboard, pedigree, selection, variation
from jaxga.report.reading import read

TASK = jaxga.Task(lambda _: jnp.ones(3), lambda _, w: jaxga.Evaluation(-jnp.sum(w**2), metrics={"a<b": w[0]}))
STEPS = variation.multiplicative(variation.absolute(0.05))


def evolved(folder, generations=20, **options):
    algorithm = jaxga.ga(TASK.init, variation.gaussian(STEPS), children=12, **options)
    return jaxga.run(algorithm, TASK, 0, generations=generations, directory=folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return folder, evolved(folder, parents=4, elites=1)


def test_the_family_is_that_of_the_pedigree(plain):
    folder, result = plain
    family = dashboard.family_of(read(folder))
    np.testing.assert_array_equal(family.parent, pedigree.parents_of(result.algorithm, result.pedigree)[:, :, 0])


@pytest.mark.slow
def test_the_family_of_pairs_that_are_named(tmp_path):
    """Who bred in the first generation is not in the recipes: it is left out."""
    chosen = selection.breeding(selection.as_selection(selection.truncation, elites=2), 3, selection.tournament())
    result = evolved(tmp_path, parents=6, pairs=3, selection=chosen)
    family = dashboard.family_of(read(tmp_path))
    assert family.first == 1
    np.testing.assert_array_equal(family.parent, pedigree.parents_of(result.algorithm, result.pedigree)[1:, :, 0])


def test_who_has_descendants_is_counted(plain):
    """Against lines that are followed one by one."""
    family = dashboard.family_of(read(plain[0]))
    expected = [len(set(range(4)))]
    lines = list(range(4))
    for parent in family.parent[::-1]:
        lines = [int(parent[slot]) for slot in lines]
        expected.append(len(set(lines)))
    np.testing.assert_array_equal(dashboard.coalescence(family), expected[::-1])


def test_the_page_needs_nothing_else(plain, tmp_path):
    path = dashboard.write(plain[0], tmp_path / "page.html")
    text = path.read_text()
    assert text.count("<svg") == text.count("</svg>") == 5
    assert not re.search(r"<script|src=|<link", text)
    assert "a&lt;b" in text
    assert "refresh" not in text
    for heading in ("Fitness", "Other metrics", "Step sizes", "Speed", "Family tree and diversity"):
        assert f"<h2>{heading}</h2>" in text


def test_a_run_that_goes_on_is_loaded_again_until_it_ends(plain, tmp_path):
    for name in ("config.json", "metrics.jsonl"):
        shutil.copy(plain[0] / name, tmp_path)
    page = dashboard.write(tmp_path)
    assert 'http-equiv="refresh"' in page.read_text()
    assert "20 generations so far" in page.read_text()
    following = threading.Thread(target=dashboard.follow, args=(tmp_path,), kwargs={"seconds": 1})
    following.start()
    shutil.copy(plain[0] / "summary.json", tmp_path)
    following.join(30)
    assert not following.is_alive()
    assert "refresh" not in page.read_text()


def test_a_run_without_generations_has_a_page(plain, tmp_path):
    shutil.copy(plain[0] / "config.json", tmp_path)
    (tmp_path / "metrics.jsonl").write_text("")
    assert "No generation" in dashboard.write(tmp_path).read_text()


def test_a_browser_shows_it(plain, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no chromium on this machine")
    page = dashboard.write(plain[0], tmp_path / "page.html")
    picture = tmp_path / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,1600", f"--screenshot={picture}"]
    subprocess.run([browser, *options, page.as_uri()], check=True, capture_output=True, timeout=120)
    from PIL import Image

    pixels = np.asarray(Image.open(picture).convert("RGB"))
    coloured = (pixels.max(axis=2).astype(int) - pixels.min(axis=2)) > 60
    assert coloured.sum() > 1000  # curves
