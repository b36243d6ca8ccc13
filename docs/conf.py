"""The site: `make docs` builds it into docs/_build/html, and takes every warning for an error."""

import inspect
import re
import shutil
from operator import attrgetter
from pathlib import Path

import jaxga

project = "jaxga"
author = copyright = "the authors of jaxga"
release = jaxga.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = f"jaxga {release}"
html_theme_options = {"footer_icons": []}
html_static_path, html_css_files = ["_static"], ["wide.css"]
exclude_patterns = ["_build"]

# Markdown, as it is on the pages of the repository too.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"  # notebooks are committed with what they printed

# Docstrings: a name in backticks is a link where it is one.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_rtype = napoleon_use_param = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

ROOT, HERE = Path(__file__).parent.parent, Path(__file__).parent

# Notebooks lie beside docs/ in the repository; Sphinx wants them below it.
shutil.copytree(ROOT / "notebooks", HERE / "tutorials", ignore=shutil.ignore_patterns("*.py"), dirs_exist_ok=True)

MOVED = {
    "](../notebooks/": "](tutorials/",
    "](../docs/": "](../",
    "](docs/": "](",
    "](SECURITY.md": "](security.md",
}  # links of the repository


def said_of_field(name):
    """The comment behind a field of a NamedTuple, in the source."""
    owner, field = name.rsplit(".", 1)
    try:
        source = inspect.getsource(attrgetter(owner.removeprefix("jaxga."))(jaxga))
    except (AttributeError, OSError, TypeError):
        return ""
    found = re.search(rf"^    {field}: .*?  # (.*)$", source, re.MULTILINE)
    return found.group(1) if found else ""


def setup(app):
    """Links between pages lead where Sphinx has them, and fields are explained."""

    def mend(app, name, content):
        for there, here in MOVED.items():
            content[0] = content[0].replace(there, here)

    def explain(app, what, name, obj, options, lines):
        if lines and lines[0].startswith("Alias for field number"):
            lines[:] = [said_of_field(name).replace("``", "`").replace("`", "``")]

    def sign(app, what, name, obj, options, signature, result):
        return ("", None) if what == "class" and issubclass(obj, tuple) else None  # its fields are listed below

    app.connect("source-read", mend)
    app.connect("include-read", lambda app, path, name, content: mend(app, name, content))
    app.connect("autodoc-process-docstring", explain)
    app.connect("autodoc-process-signature", sign)
