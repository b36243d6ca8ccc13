"""Real processes on loopback: the same run, whatever it runs on, and whoever is told to stop."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import genotypes
import lifetimes
import networks
import populations
import psutil
import pytest
from places import PROGRAMS

PROGRAM = PROGRAMS / "evolve.py"
LONG = 200  # seconds, for anything


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def start(processes, *arguments):
    """As many processes that find one another on loopback; one alone is told nothing of others."""
    if processes == 1:
        return spawn([{}], *arguments)
    others = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}", "JAX_NUM_PROCESSES": str(processes)}
    return spawn([others | {"JAX_PROCESS_ID": str(number)} for number in range(processes)], "--hosts", *arguments)


def spawn(environments, *arguments):
    """A process in each of them."""
    command, own = [sys.executable, str(PROGRAM), *arguments], {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return [subprocess.Popen(command, env=os.environ | own | environment, **pipes) for environment in environments]


def answers(started):
    """What every one of them said in the end."""
    try:
        ends = [process.communicate(timeout=LONG) for process in started]
    finally:
        for process in started:
            process.kill()
    lines = [[line for line in out.splitlines() if line.startswith("{")] for out, _ in ends]
    assert all(lines), [error for _, error in ends]
    return [json.loads(found[-1]) for found in lines]


def listening(started):
    """The addresses at which they, and all whom they start, listen until they end."""
    found, deadline = set(), time.monotonic() + LONG
    while any(process.poll() is None for process in started) and time.monotonic() < deadline:
        for process in started:
            with contextlib.suppress(psutil.Error):
                everyone = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                for each in everyone:
                    ends = [at.laddr.ip for at in each.net_connections("inet") if at.status == psutil.CONN_LISTEN]
                    found |= {end.removeprefix("::ffff:") for end in ends}  # IPv4 in the guise of IPv6
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def alone():
    """One process on one device."""
    return answers(start(1))[0]["digest"]


@pytest.mark.slow
@pytest.mark.parametrize("cores", [4, 8])
def test_many_devices_of_one_process_make_no_difference(alone, cores):
    (answer,) = answers(start(1, "--cores", str(cores)))
    assert answer["devices"] == cores
    assert answer["digest"] == alone


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_workers_of_ray_make_no_difference(alone, workers):
    """Of a Ray that is started on this machine; four are more than it has cores, so that two of them wait for room."""
    (answer,) = answers(start(1, "--workers", str(workers)))
    assert 1 <= answer["tally"]["workers"] <= workers
    assert answer["digest"] == alone


@pytest.mark.parametrize(
    ("processes", "cores"),
    [(2, 1), pytest.param(2, 2, marks=pytest.mark.slow), pytest.param(4, 1, marks=pytest.mark.slow)],
)
def test_many_processes_make_no_difference(alone, processes, cores):
    found = answers(start(processes, "--cores", str(cores)))
    assert [answer["devices"] for answer in found] == [processes * cores] * processes
    assert [answer["first"] for answer in found] == [True] + [False] * (processes - 1)
    assert {answer["digest"] for answer in found} == {alone}


@pytest.mark.slow
@pytest.mark.parametrize(
    "made", ["grid", "islands", *populations.MADE, *lifetimes.MADE, *genotypes.MADE, *networks.MADE]
)
def test_populations_and_lives_are_the_same_everywhere(made):
    """On four devices, in two processes, and by two workers of Ray."""
    options = "--made", made, "--generations", "12"
    (one,) = answers(start(1, *options))
    (four,) = answers(start(1, *options, "--cores", "4"))
    two = answers(start(2, *options))
    (workers,) = answers(start(1, *options, "--workers", "2"))
    assert (four["devices"], [answer["devices"] for answer in two]) == (4, [2, 2])
    assert {answer["digest"] for answer in (four, *two, workers)} == {one["digest"]}


@pytest.mark.parametrize("which", ["few", pytest.param("many", marks=pytest.mark.slow)])
def test_a_score_is_the_same_whoever_shares_the_work(which):
    """Whole, in slices of every size and on two or three devices, where XLA optimises."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=3"}
    command = [sys.executable, str(PROGRAMS / "shares.py"), which]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LONG)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert min(map(len, found)) >= 3
    assert [{name: count for name, count in case.items() if count} for case in found] == [{}] * len(found)


@pytest.fixture(scope="module")
def parental():
    """One process on one device, where scores come from the parent."""
    return answers(start(1, "--made", "parental", "--generations", "6"))[0]["digest"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "more"),
    [(1, ("--cores", "4")), (2, ()), (2, ("--cores", "2")), (1, ("--workers", "2"))],
    ids=["four devices", "two processes", "two processes of two devices", "Ray"],
)
def test_scores_that_come_from_the_parent_make_no_difference(parental, processes, more):
    found = answers(start(processes, "--made", "parental", "--generations", "6", *more))
    assert {answer["digest"] for answer in found} == {parental}


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "made"), [(2, "averages"), (3, "averages"), (2, "encoded")])
def test_games_are_played_by_all(processes, made):
    """The third process has no candidate for the elite where there are fewer of them."""
    (one,) = answers(start(1, "--game", "--generations", "3", "--made", made))
    found = answers(start(processes, "--game", "--generations", "3", "--made", made))
    assert {answer["digest"] for answer in found} == {one["digest"]}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(2,), (1, "--workers", "1")], ids=["two processes", "Ray of this machine"])
def test_nothing_listens_on_other_than_loopback(alone, arguments):
    started = start(*arguments)
    assert listening(started) == {"127.0.0.1"}
    assert {answer["digest"] for answer in answers(started)} == {alone}


@pytest.mark.slow
def test_slurm_says_who_the_others_are(alone):
    """By its own variables, as on a node of an allocation that happens to be this machine."""
    job = str(free_port() - 61440)  # JAX makes a port of it
    slurm = {
        "SLURM_JOB_ID": job, "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_NODES": "1",
        "JAX_COORDINATOR_BIND_ADDRESS": f"127.0.0.1:{int(job) % 4096 + 61440}",
    }  # fmt: skip
    started = spawn([slurm | {"SLURM_PROCID": number, "SLURM_LOCALID": number} for number in ("0", "1")], "--hosts")
    assert {answer["digest"] for answer in answers(started)} == {alone}


def test_hosts_without_a_cluster_are_an_error():
    environment = {"PATH": "", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(PROGRAM), "--hosts"]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=LONG)
    assert ended.returncode == 1
    assert "nothing says who the other processes are" in ended.stderr
    assert "set JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID" in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("told", [0, 1])
def test_a_signal_to_one_stops_all_and_the_run_goes_on_elsewhere(told, tmp_path):
    """Two processes, one of which gets a notice; then one process, and then four."""
    out = tmp_path / "run"
    started = start(2, "--out", str(out), "--generations", "1000000")
    lines = out / "metrics.jsonl"
    deadline = time.monotonic() + LONG
    while not (lines.exists() and lines.read_text().count("\n") >= 3):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    started[told].send_signal(signal.SIGTERM)
    stopped = answers(started)
    assert [process.returncode for process in started] == [130, 130]
    assert all(answer["stopped_because"] == "interrupted by SIGTERM" for answer in stopped)
    reached = stopped[0]["generation"]
    assert reached >= 3
    assert stopped[0]["digest"] == stopped[1]["digest"]
    assert lines.read_text().count("\n") == reached

    more = reached + 20
    (whole,) = answers(start(1, "--generations", str(more)))
    for processes in (1, 4):
        copy = tmp_path / f"on-{processes}"
        shutil.copytree(out, copy)
        resumed = answers(start(processes, "--out", str(copy), "--resume", "--generations", str(more)))
        assert {answer["digest"] for answer in resumed} == {whole["digest"]}
        assert {answer["generation"] for answer in resumed} == {more}


@pytest.mark.slow
def test_who_is_refused_says_so_in_every_process(tmp_path):
    """Only the first one looks at the files."""
    out = tmp_path / "run"
    out.mkdir()
    (out / "config.json").write_text('{"name": "other", "arguments": {}}')
    started = start(2, "--out", str(out))
    ends = [process.communicate(timeout=LONG) for process in started]
    assert [process.returncode for process in started] == [1, 1]
    assert all("which holds another run (other, not evolve)" in error for _, error in ends)
