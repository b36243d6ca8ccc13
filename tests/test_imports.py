"""Lower rooms never import higher ones, and heavy libraries are imported in the one file that uses them."""

import ast
import subprocess
import sys
from pathlib import Path

from places import ROOT

SOURCE = ROOT / "src" / "jaxga"

FLOORS = [
    {"_version", "base", "signals"},
    {"tree", "lowrank", "data", "devices", "arena", "distributed", "observe"},
    {"compilation"},
    {"interpret", "noise"},
    {"nn", "variation", "stop", "measures", "encoding"},
    {"selection", "heredity"},
    {"scores"},
    {"algorithm", "alignment", "tasks", "report", "memory"},
    {"pedigree", "evaluate", "baselines", "lifetime"},
    {"checkpoint", "doubts", "genome"},
    {"run"},
    {"many", "analysis", "planning", "backend", "explain", "growth", "dashboard"},
    {"cli"},
]
DRAWN = "report/plots.py", "report/family.py", "dashboard.py"
HEAVY = {"matplotlib": DRAWN, "PIL": "report/video.py", "tensorboardX": "report/files.py",
         "orbax": "checkpoint.py", "filelock": "report/files.py",
         "rich": ("report/", "data.py"), "tyro": ("report/command.py", "cli/"), "safetensors": "cli/",
         "scipy": ("report/statistics.py", "analysis/", "selection/slots.py"),
         "sklearn": "data.py", "gymnax": "tasks/environments.py", "envpool": "tasks/games.py",
         "mujoco": "tasks/ant.py", "ray": "evaluate/cluster.py"}  # fmt: skip


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


def room(module: str) -> str:
    return module.split(".")[1]


def floor(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def test_every_module_has_a_floor_and_imports_only_lower_ones():
    for path in SOURCE.rglob("*.py"):
        if path == SOURCE / "__init__.py":
            continue
        own = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        rooms = set().union(*FLOORS)
        used = {room(module) for module in imports(path) if module.startswith("jaxga.") and room(module) in rooms}
        for other in used - {own}:
            assert floor(other) < floor(own), f"{path.name} ({own}) imports {other}"


def test_heavy_libraries_have_one_place():
    for path in SOURCE.rglob("*.py"):
        for module in imports(path):
            place = HEAVY.get(module.split(".")[0])
            assert place is None or str(path.relative_to(SOURCE)).startswith(place), f"{path.name} imports {module}"


def test_a_library_is_imported_when_it_is_first_used():
    heavy = ["orbax", "matplotlib", "tyro", "rich", "tensorboardX", "scipy", "flax", "optax", "PIL", "ray", "envpool"]
    code = f"import jaxga, sys; print([name for name in {heavy} if name in sys.modules], jaxga.nn.MLP, jaxga.tasks.mix)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.startswith("[] <class 'jaxga.nn.networks.MLP'>")
