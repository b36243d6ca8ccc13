"""How is an experiment started on N nodes? Prints the commands of each way, or one file to be handed on.

python scripts/launch.py --nodes 4 -- experiments/atari.py --game Frostbite
python scripts/launch.py --nodes 4 --way slurm -- experiments/atari.py --game Frostbite | sbatch
"""

import shlex
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from string import Template
from typing import Literal

import tyro

HERE = Path(__file__).parent
FILES = {"slurm": "slurm.sbatch", "kubernetes": "kubernetes.yaml", "aws": "ray-aws.yaml", "kuberay": "kuberay.yaml"}


@dataclass
class Args:
    nodes: int = 4
    """Machines."""
    cpus: int = 1
    """Cores of each."""
    gpus: int = 0
    """Of each; a GPU has a process of its own."""
    way: Literal["all", "slurm", "kubernetes", "aws", "kuberay"] = "all"
    """Say all that there is, or write one file, filled in."""
    head: str = "10.0.0.1"
    """Address of the first machine, for the ways that need one."""
    image: str = "jaxga:latest"
    """Of containers."""
    instance: str = "c7a.medium"
    """Type of the spot machines on AWS."""
    memory: str = "2Gi"
    """Of a worker's container."""


def render(way: str, args: Args, command: str) -> str:
    """A template, filled in."""
    gpus = {
        "slurm": f"#SBATCH --gpus-per-node={args.gpus}\n" if args.gpus else "",
        "kubernetes": f', nvidia.com/gpu: "{args.gpus}"' if args.gpus else "",
    }
    words = {
        "nodes": args.nodes, "cpus": args.cpus, "tasks": max(args.gpus, 1), "unit": "GPU" if args.gpus else "node",
        "gpus": gpus.get(way, ""), "command": command, "image": args.image, "instance": args.instance,
        "memory": args.memory, "ray": _ray_version(),
    }  # fmt: skip
    return Template((HERE / FILES[way]).read_text()).substitute(words)


def _ray_version() -> str:
    try:
        return version("ray")
    except PackageNotFoundError:
        return "2.60.0"


def commands(args: Args, command: str) -> str:
    """Every way, as what is to be typed."""
    again = f"python scripts/launch.py --nodes {args.nodes} --cpus {args.cpus} --gpus {args.gpus}"
    script = command.removeprefix("python ")
    joined = f"JAX_COORDINATOR_ADDRESS={args.head}:8476 JAX_NUM_PROCESSES={args.nodes} JAX_PROCESS_ID"
    there = f"RAY_AUTH_MODE=token RAY_ADDRESS=auto {command} --backend ray"
    each = "\n".join(f"{joined}={number} {command} --backend hosts" for number in range(args.nodes))
    return f"""\
# One machine, all of its devices
{command}

# Workers of Ray on one machine: as on many, to try it out
{command} --backend ray --workers {args.nodes}

# Machines that stay: the same command on each of them
{each}

# SLURM
{again} --way slurm -- {script} | sbatch

# Kubernetes, an indexed Job
{again} --way kubernetes -- {script} | kubectl apply -f -

# Machines that come and go: Ray. On the first one, then on any other one, whenever it comes
RAY_AUTH_MODE=token ray start --head --num-cpus=0 --port=6379
RAY_AUTH_MODE=token ray start --address={args.head}:6379
{there}

# Ray on spot machines of AWS, started and replaced by its autoscaler
{again} --way aws -- {script} > ray-aws.yaml
ray up -y ray-aws.yaml && ray exec ray-aws.yaml 'cd ~/jaxga && {there}'

# Ray on Kubernetes
{again} --way kuberay -- {script} | kubectl apply -f -
"""


def main(argv: list[str]) -> str:
    """What to print."""
    own, rest = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    args = tyro.cli(Args, args=own, description=__doc__)
    if not rest:
        sys.exit("error: no experiment is named: put it behind --, as in `-- experiments/atari.py --game Frostbite`.")
    if args.nodes < 1 or args.cpus < 1 or args.gpus < 0:
        sys.exit(f"error: nodes is {args.nodes}, cpus {args.cpus}, gpus {args.gpus}: name one node and core at least.")
    command = shlex.join(["python", *rest])
    return commands(args, command) if args.way == "all" else render(args.way, args, command)


if __name__ == "__main__":
    print(main(sys.argv[1:]), end="")
