"""The commands and templates that start a run on a cluster."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from places import ROOT

SCRIPT = ROOT / "scripts" / "launch.py"
COMMAND = ["experiments/atari.py", "--game", "Frostbite"]


def launch(*arguments, command=COMMAND):
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments, "--", *command], capture_output=True, text=True, timeout=60
    )


def documents(*arguments):
    return list(yaml.safe_load_all(launch(*arguments).stdout))


def test_every_way_is_said_for_so_many_nodes():
    said = launch("--nodes", "3", "--head", "192.0.2.1").stdout
    for number in range(3):
        assert f"JAX_COORDINATOR_ADDRESS=192.0.2.1:8476 JAX_NUM_PROCESSES=3 JAX_PROCESS_ID={number} python" in said
    assert "JAX_PROCESS_ID=3" not in said
    assert said.count("experiments/atari.py --game Frostbite --backend ray") == 3
    assert "ray start --address=192.0.2.1:6379" in said


def test_a_command_keeps_its_quotes():
    assert "'a b'" in launch("--nodes", "1", command=["x.py", "--out", "a b"]).stdout


@pytest.mark.parametrize(("gpus", "tasks"), [("0", 1), ("4", 4)])
def test_slurm_starts_a_process_a_node_or_gpu(gpus, tasks, tmp_path):
    """The job runs here, with commands that stand in for srun and scontrol, and are told all that SLURM's would be."""
    script = launch("--nodes", "2", "--way", "slurm", "--gpus", gpus).stdout
    head = dict(
        line[len("#SBATCH --") :].split("=") for line in script.splitlines() if "#SBATCH --" in line and "=" in line
    )
    assert head["nodes"] == "2"
    assert head["ntasks-per-node"] == str(tasks)
    assert head["signal"] == "TERM@120"
    assert head.get("gpus-per-node", "0") == gpus
    for name, code in {"srun": 130, "scontrol": 0}.items():
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $@" >> calls\nexit {code}\n')
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "77"}
    for _ in range(2):
        ended = subprocess.run(["bash"], input=script, text=True, cwd=tmp_path, env=environment, timeout=20)
        assert ended.returncode == 130
        (tmp_path / "runs" / "slurm-77").mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs" / "slurm-77" / "config.json").touch()
    start = "srun --kill-on-bad-exit=1 python experiments/atari.py --game Frostbite --backend hosts --out runs/slurm-77"
    first, again, second, _ = (tmp_path / "calls").read_text().splitlines()
    assert first.strip() == start
    assert again == "scontrol requeue 77"
    assert second == f"{start} --resume"


def test_an_indexed_job_has_a_pod_a_process():
    service, job = documents("--nodes", "5", "--way", "kubernetes", "--gpus", "1")
    assert service["spec"]["clusterIP"] == "None"
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 5
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    name = f"{job['metadata']['name']}-0.{pod['subdomain']}"
    assert environment == {"JAX_COORDINATOR_ADDRESS": f"{name}:8476", "JAX_NUM_PROCESSES": "5"}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"]["job-name"] == job["metadata"]["name"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert "atari.py --game Frostbite --backend hosts --out /runs/jaxga" in container["args"][0]


def test_rays_launcher_accepts_the_cluster_of_spot_machines():
    (config,) = documents("--nodes", "6", "--way", "aws")
    spot = config["available_node_types"]["spot"]
    assert spot["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert (spot["min_workers"], spot["max_workers"], config["max_workers"]) == (6, 6, 6)
    jsonschema = pytest.importorskip("jsonschema")
    ray = pytest.importorskip("ray")
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)


def test_kuberay_has_a_group_of_spot_machines():
    (cluster,) = documents("--nodes", "6", "--way", "kuberay", "--cpus", "2")
    assert cluster["kind"] == "RayCluster"
    (group,) = cluster["spec"]["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (0, 6)
    assert group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] == "2"
    assert cluster["spec"]["headGroupSpec"]["rayStartParams"] == {"num-cpus": "0"}


def test_what_is_wrong_is_said():
    ended = launch("--nodes", "0")
    assert ended.returncode == 1
    assert "nodes is 0" in ended.stderr
    alone = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, timeout=60)
    assert "no experiment is named" in alone.stderr
    assert alone.returncode == 1
