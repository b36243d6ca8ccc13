"""Execute every notebook of this folder in place, so that a reader sees its pictures without running it."""

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

FOLDER = Path(__file__).parent


def execute(path: Path, out: Path) -> None:
    """Run a notebook from its folder and write it, outputs included, to ``out``."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as sockets:  # the kernel is reached by files, not by TCP
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/kernel"}})
        place = {"metadata": {"path": FOLDER}}
        NotebookClient(notebook, timeout=1200, kernel_name="python3", resources=place, config=config).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # time stamps would differ every time
    notebook.metadata.pop("language_info", None)
    nbformat.write(notebook, out)


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(FOLDER.glob("*.ipynb")):
        print(name, flush=True)
        execute(Path(name), Path(name))
