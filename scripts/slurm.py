"""Starts and stops a Slurm cluster of one node, this machine, for trying things out; for tests too.

    python scripts/slurm.py start FOLDER
    export SLURM_CONF=FOLDER/slurm.conf
    sinfo
    python scripts/slurm.py stop FOLDER

munged, slurmctld and slurmd run as whoever starts them, listen on the loopback address, and keep all they have in
FOLDER. There are two partitions: ``main``, and ``urgent``, whose jobs take the place of those of ``main``, which are
told so, given three seconds, and requeued if they ask for that. An array has twenty jobs at most. No accounts are kept.
Needs root, because slurmd does; Debian: ``apt install slurm-wlm munge``.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sinfo")
_SECONDS_TO_START = 30.0
# A laptop's memory, whatever the machine has: Slurm only compares jobs' requests with it, and enforces no limit.
_MEMORY_MB = 8192

_CONFIGURATION = """\
ClusterName=seqadd
SlurmctldHost={host}(127.0.0.1)
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
EnforcePartLimits=ALL
ReturnToService=2
KillWait=5
MinJobAge=60
MaxArraySize=20
JobRequeue=0
SchedulerParameters=batch_sched_delay=1,sched_interval=5,requeue_setup_env_fail
NodeName={host} NodeAddr=127.0.0.1 CPUs={processors} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=3
PartitionName=urgent Nodes={host} MaxTime=60 PriorityTier=2
"""


class CannotStart(RuntimeError):
    """The cluster cannot be started; the message is one line."""


def missing() -> str | None:
    """Returns what this machine lacks for a cluster and how to install it, in one line; None if it lacks nothing."""
    programs = [program for program in PROGRAMS if shutil.which(program) is None]
    if programs:
        return f"Slurm is not installed (no {', '.join(programs)}): apt install slurm-wlm munge"
    if os.geteuid() != 0:
        return "Slurm cannot be started: slurmd must be root; start it as root, or in a container"
    return None


def start(folder: Path) -> dict[str, str]:
    """Starts a cluster that keeps all its files in a folder.

    Returns:
        The environment variable by which Slurm's commands find it.

    Raises:
        CannotStart: without the programs, without root, or when the cluster does not respond.
    """
    lacks = missing()
    if lacks is not None:
        raise CannotStart(lacks)
    folder = folder.absolute()
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # munged requires that every user can reach its socket
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    host = socket.gethostname().partition(".")[0]
    first, second = _free_ports()
    (folder / "slurm.conf").write_text(
        _CONFIGURATION.format(
            host=host, user="root", folder=folder, controller_port=first, node_port=second,
            processors=os.cpu_count(), memory=_MEMORY_MB,
        )
    )  # fmt: skip
    environment = {"SLURM_CONF": str(folder / "slurm.conf")}
    of_munge = [f"--{what}-file={folder}/munge.{what}" for what in ("key", "pid", "log", "seed")]
    _run(["munged", "--force", f"--socket={folder}/munge.socket", *of_munge], environment)
    _run(["slurmctld"], environment)
    _run(["slurmd"], environment)
    try:
        _wait_until(lambda: "idle" in _sinfo(environment), f"slurmd is not ready; see {folder}/slurmd.log")
    except CannotStart:
        stop(folder)
        raise
    return environment


def stop(folder: Path) -> None:
    """Ends the programs that ``start`` has started, and the jobs that still run."""
    folder = folder.absolute()
    if (folder / "slurm.conf").exists():
        with suppress(OSError):
            subprocess.run(
                ["scancel", "--full", "--state=RUNNING"],
                env={**os.environ, "SLURM_CONF": str(folder / "slurm.conf")},
                capture_output=True,
                timeout=20,
            )
    for name in ("slurmd", "slurmctld", "munge"):
        with suppress(OSError, ValueError):
            pid = int((folder / f"{name}.pid").read_text())
            os.kill(pid, signal.SIGTERM)
            _wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), f"{name} does not end")  # type: ignore[misc]


def _run(program: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(program, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise CannotStart(f"{program[0]} does not start: {done.stderr.strip()}")


def _sinfo(environment: Mapping[str, str]) -> str:
    asked = subprocess.run(
        ["sinfo", "--noheader", "--format=%T"], env={**os.environ, **environment}, capture_output=True, text=True
    )
    return asked.stdout


def _wait_until(ready: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while not ready():
        if time.monotonic() > deadline:
            raise CannotStart(otherwise)
        time.sleep(0.2)


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("do", choices=("start", "stop"))
    parser.add_argument("folder", type=Path, help="where the cluster keeps all it has")
    options = parser.parse_args()
    if options.do == "stop":
        stop(options.folder)
        return
    try:
        environment = start(options.folder)
    except CannotStart as error:
        sys.exit(f"slurm: {error}")
    print(f"export SLURM_CONF={environment['SLURM_CONF']}")


if __name__ == "__main__":
    main()
