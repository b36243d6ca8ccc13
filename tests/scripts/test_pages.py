"""The pages of the site: what they show runs as it stands, and the reference leaves nothing out."""

import importlib
import re
import types

import jax
import matplotlib as mpl
import pytest
from places import ROOT, blocks

import jaxga

HOW_TO = sorted((ROOT / "docs" / "howto").glob("*.md"))
FAST = {"loop", "resume"}


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=() if page.stem in FAST else pytest.mark.slow) for page in HOW_TO if blocks(page)],
    ids=lambda page: page.stem,
)
@pytest.mark.filterwarnings("ignore:every fitness of generation")
def test_a_page_runs_as_it_stands(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    names = {"__name__": page.stem}
    with jax.numpy_dtype_promotion("standard"):  # as users have it
        for block in blocks(page):
            exec(block, names)
    assert capsys.readouterr().out
    if "result" in names:
        history = names["result"].history["best_fitness"]
        assert history[-1] > history[0]


def test_what_the_first_page_shows_is_short():
    (example,) = blocks(ROOT / "docs" / "index.md")
    compile(example, "index", "exec")
    assert len(example.splitlines()) < 12


def test_every_public_name_is_in_the_reference():
    """Packages are documented as a whole, and the names of `jaxga` itself one by one."""
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    modules = set(re.findall(r"automodule:: (\S+)", pages))
    named = set(re.findall(r"auto(?:function|class|exception):: jaxga\.(\S+)", pages))
    for name in jaxga.__all__:
        part = getattr(jaxga, name)
        if isinstance(part, types.ModuleType):
            assert part.__name__ in modules or name == "backend", name
        elif not isinstance(part, str):
            assert name in named, name
    assert all(importlib.import_module(module).__doc__ for module in modules)


def test_the_citation_names_this_version():
    assert f"version: {jaxga.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def test_every_page_is_in_the_contents():
    """And nothing in the contents is missing; notebooks are put beside the pages when the site is built."""
    listed = set(re.findall(r"^[\w/]+$", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE))
    pages = {str(path.relative_to(ROOT / "docs").with_suffix("")) for path in (ROOT / "docs").rglob("*.md")}
    notebooks = {f"tutorials/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    built = {page for page in pages if page.startswith("_build")}
    assert listed == (pages - built - {"index"}) | notebooks
