"""Build a wheel, install it in an empty environment, and run the example of the README there: before a release."""

import re
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path

import tyro

ROOT = Path(__file__).parent.parent


@dataclass
class Args:
    out: Path = ROOT / "dist"
    """Where the wheel is left."""


def main(args: Args) -> None:
    """Build, install, run; ends with an error where one of them fails."""
    args.out.mkdir(parents=True, exist_ok=True)
    for old in args.out.glob("*.whl"):
        old.unlink()
    build = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(args.out), str(ROOT)]
    subprocess.run([sys.executable, *build], check=True)
    (wheel,) = args.out.glob("*.whl")
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", str(wheel)], check=True)
        shown = subprocess.run([python, "-c", example], check=True, capture_output=True, text=True, cwd=folder).stdout
        subprocess.run([str(Path(folder) / "bin" / "jaxga"), "doctor"], check=True, cwd=folder)
    print(shown.strip())
    if not shown.startswith("64 of 64"):
        sys.exit("error: the example of the README did not memorize all points.")
    print(f"{wheel} is good.")


if __name__ == "__main__":
    main(tyro.cli(Args))
