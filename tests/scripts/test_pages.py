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


def anchor(heading):
    """The name by which a link finds a heading, as GitHub and MyST make it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_every_question_has_a_verdict_and_its_links_lead_somewhere():
    text = (ROOT / "docs" / "questions.md").read_text()
    rows = [line.strip("|").split(" | ") for line in text.splitlines() if re.match(r"\| [A-G]\d+ ", line)]
    many = {"A": 18, "B": 21, "C": 14, "D": 18, "E": 18, "F": 17, "G": 17}
    assert [row[0].strip() for row in rows] == [f"{part}{n}" for part, last in many.items() for n in range(1, last + 1)]
    for name, question, verdict, where in rows:
        assert question.strip().endswith(("?", ".")), name
        assert verdict.strip().endswith("."), name
        links = re.findall(r"\]\(([^)]+)\)", where)
        assert any(not link.startswith("https://") for link in links), name
        for link in links + re.findall(r"\]\(([^)]+)\)", verdict):
            if link.startswith("https://"):
                continue  # another site
            file, _, place = link.partition("#")
            target = ROOT / "docs" / file
            assert target.exists(), (name, link)
            if place:
                headings = re.findall(r"^#+ (.*)", target.read_text(), re.MULTILINE)
                assert place in map(anchor, headings), (name, link)
