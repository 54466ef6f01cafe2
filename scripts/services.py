"""Starts and stops what a shared tracking server consists of: PostgreSQL and `mlflow server`, on this machine alone.

    python scripts/services.py start postgres FOLDER [--port N]                       prints the database's URI
    python scripts/services.py start mlflow FOLDER --database URI [--port N] [--auth] prints the server's URI
    python scripts/services.py stop mlflow FOLDER
    python scripts/services.py stop postgres FOLDER

PostgreSQL is Debian's (`apt install postgresql`), MLflow the one that this Python has (`pip install 'seqadd[server]'`).
Both listen on 127.0.0.1 and nowhere else. Everything they need and keep is in FOLDER, which may be the same for both:

    postgres/           the database, of the user that PostgreSQL runs as; postgres/log.txt
    postgres.port
    postgres.password   what the user mlflow of the database mlflow is known by, in libpq's format, mode 0600
    artifacts/          what runs have stored as files
    auth.ini            MLflow's settings of --auth, with the password of its user admin, mode 0600
    secret              what it signs its pages with, mode 0600
    mlflow.port, mlflow.pid, mlflow.log

No password is on a command line or in the URI that is printed: other users of the machine can read those. Started
again, a service that runs is left alone, and one that does not comes back with what it had, on the port that it had.
Stopped is only what was started from FOLDER.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

HOST = "127.0.0.1"
# An MLflow worker serves 40 requests at once, each with up to two database connections, from a pool of 15. With more
# than 15 writers, requests can deadlock: each waits for a second connection, and after 30 seconds all of them fail.
_POOL = {"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "10", "MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "90"}
# PostgreSQL's limit is 100 by default. Four workers need 400 connections, and as many again for names and passwords.
_CONNECTIONS = 800
_SECONDS_TO_START = 300.0  # usually five to twenty; much longer on a busy machine
_SECONDS_TO_STOP = 15.0

_POSTGRES_CONF = f"""
# By scripts/services.py; the port is given at the start.
listen_addresses = '{HOST}'
unix_socket_directories = ''
max_connections = {_CONNECTIONS}
password_encryption = scram-sha-256
"""

# Only the user mlflow may connect, to the database mlflow, with its password.
_POSTGRES_HBA = f"host mlflow mlflow {HOST}/32 scram-sha-256\n"

# default_permission: every user may read everything; an experiment's creator or admin grants the permission to write.
# auth_cache_ttl_seconds: checking a password takes MLflow 40 to 100 ms; with the cache it does so once a minute. The
# drawback: a changed or revoked password can stay valid for another minute.
_AUTH_INI = """\
[mlflow]
default_permission = READ
database_uri = {database_uri}
admin_username = admin
admin_password = {admin_password}
auth_cache_ttl_seconds = 60
"""


class ServiceError(RuntimeError):
    """A service cannot be started or stopped; the message is one line, with the remedy if there is one."""


def start_postgres(folder: Path, port: int | None = None) -> str:
    """Starts PostgreSQL, with an empty database ``mlflow`` the first time; returns the database's URI.

    Args:
        folder: holds its files; created if missing.
        port: None for the port of the last start, or any free port.

    Raises:
        ServiceError: when it cannot be started.
    """
    folder = _made(folder)
    data, password = folder / "postgres", folder / "postgres.password"
    pg_ctl = postgres_program("pg_ctl")
    if not password.exists():
        _write_secret(password, f"{HOST}:*:mlflow:mlflow:{secrets.token_urlsafe(24)}\n")
    if not data.exists():
        _make_database(data, password.read_text().strip().rpartition(":")[2])
    running = _as_postgres([pg_ctl, "status", "-D", str(data)])
    if running.returncode != 0:
        port = _port(folder / "postgres.port", port)
        log = data / "log.txt"
        command = [pg_ctl, "start", "--wait", "--silent", "-D", str(data), "-l", str(log), "-o", f"-c port={port}"]
        if _as_postgres([*command, "-t", f"{_SECONDS_TO_START:.0f}"]).returncode != 0:
            raise ServiceError(f"PostgreSQL does not start in {data}: {_last_line(log)}")
    port = int((folder / "postgres.port").read_text())
    return f"postgresql+psycopg2://mlflow@{HOST}:{port}/mlflow?passfile={quote(str(password), safe='/')}"


def stop_postgres(folder: Path) -> None:
    """Stops the PostgreSQL of a folder and closes its clients' connections; does nothing if it does not run.

    Raises:
        ServiceError: when it does not stop.
    """
    data = folder.absolute() / "postgres"
    if not (data / "postmaster.pid").exists():
        return
    pg_ctl = postgres_program("pg_ctl")
    for how in ("fast", "immediate"):  # after "immediate", it recovers at the next start as after a power failure
        command = [pg_ctl, "stop", "--wait", "-m", how, "-D", str(data), "-t", f"{_SECONDS_TO_STOP:.0f}"]
        if _as_postgres(command).returncode == 0 or _as_postgres([pg_ctl, "status", "-D", str(data)]).returncode != 0:
            return
    raise ServiceError(f"PostgreSQL in {data} does not stop: {_last_line(data / 'log.txt')}")


def missing() -> str | None:
    """Returns what this machine lacks for PostgreSQL and MLflow's server and how to install it; None if nothing."""
    try:
        postgres_program("initdb")
        postgres_user()
        _check_libraries("postgresql+psycopg2", auth=True)
    except ServiceError as error:
        return str(error)
    return None


def postgres_program(name: str) -> str:
    """Returns the path of a PostgreSQL program: Debian's newest installed version, or the one on the PATH.

    Raises:
        ServiceError: when there is no such program.
    """
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    path = str(found[-1]) if found else shutil.which(name)
    if path is None:
        raise ServiceError(f"PostgreSQL is not installed (no {name} in /usr/lib/postgresql): apt install postgresql")
    return path


def postgres_user() -> str | None:
    """Returns the user that runs PostgreSQL: ``postgres`` if this process is root (PostgreSQL refuses root), else None.

    Raises:
        ServiceError: when there is no such user.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise ServiceError("PostgreSQL cannot run as root, and there is no user postgres: apt install postgresql")


def postgres_alone(data: Path, statements: Sequence[str]) -> None:
    """Executes SQL statements, a line each, as the owner of a database while its server is stopped.

    Raises:
        ServiceError: with PostgreSQL's message, when a statement fails.
    """
    command = [postgres_program("postgres"), "--single", "-D", str(data), "-c", "exit_on_error=on", "postgres"]
    done = _as_postgres(command, "".join(f"{statement};\n" for statement in statements))
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise ServiceError(f"PostgreSQL in {data}: {next((line for line in said if 'FATAL' in line), said[-1:])}")


def _make_database(data: Path, password: str) -> None:
    """Creates a database cluster with the user and the database ``mlflow``, atomically."""
    unfinished = data.with_name("postgres.unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    unfinished.mkdir(mode=0o700)
    user = postgres_user()
    if user is not None:
        shutil.chown(unfinished, user, pwd.getpwnam(user).pw_gid)
    if _as_postgres(["test", "-w", str(unfinished)]).returncode != 0:
        raise ServiceError(
            f"{unfinished}: the user {user} may not pass one of the folders above; choose another, or chmod o+x them"
        )
    # No user can connect over the network before pg_hba.conf is written; the cluster's owner never can.
    settings = ["--username", "postgres", "--auth", "reject", "--encoding", "UTF8", "--locale", "C.UTF-8"]
    made = _as_postgres([postgres_program("initdb"), "-D", str(unfinished), *settings])
    if made.returncode != 0:
        raise ServiceError(f"initdb fails in {unfinished}: {' '.join(made.stderr.split())}")
    with (unfinished / "postgresql.conf").open("a") as file:
        file.write(_POSTGRES_CONF)
    (unfinished / "pg_hba.conf").write_text(_POSTGRES_HBA)
    postgres_alone(
        unfinished, [f"CREATE ROLE mlflow LOGIN PASSWORD '{password}'", "CREATE DATABASE mlflow OWNER mlflow"]
    )
    unfinished.rename(data)


def _as_postgres(command: Sequence[str], said: str = "") -> subprocess.CompletedProcess[str]:
    """Runs a program as the user of PostgreSQL; a server that it starts writes to its own log."""
    user = postgres_user()
    other: dict[str, Any] = {}
    if user is not None:
        other = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
    # Messages are in English, because this script parses them.
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    starts = "start" in command
    return subprocess.run(
        list(command), input=said, text=True, cwd="/", env=environment, check=False,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL if starts else subprocess.PIPE, **other,
    )  # fmt: skip


def start_mlflow(
    folder: Path, database: str, port: int | None = None, *, auth: bool = False, workers: int | None = None
) -> str:
    """Starts an MLflow server that also serves artifacts, waits until it responds, and returns its URI.

    Args:
        folder: holds its files; created if missing.
        database: the SQLAlchemy URI of its database.
        port: None for the port of the last start, or any free port.
        auth: whether it asks for name and password; the first user is ``admin``, see ``admin_password``.
        workers: number of worker processes; None for one per processor, at most MLflow's default of four.

    Raises:
        ServiceError: when it cannot be started.
    """
    folder = _made(folder)
    _check_libraries(database, auth)
    # The settings, to compare with a running server's; hashed, as the database's URI may hold a password.
    asked_for = {"auth": auth, "database": hashlib.sha256(database.encode()).hexdigest()}
    if _running_mlflow(folder) is not None:
        there = int((folder / "mlflow.port").read_text())
        running = json.loads((folder / "mlflow.pid").read_text())
        if port not in (None, there) or any(running.get(name) != value for name, value in asked_for.items()):
            how = f"{'with' if running.get('auth') else 'without'} --auth on port {there}"
            raise ServiceError(f"a server runs in {folder} {how}, or with another database; stop it first")
        return f"http://{HOST}:{there}"
    port = _port(folder / "mlflow.port", port)
    # Without MLflow's variables of this shell, which are meant for clients.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    environment |= {
        "MLFLOW_BACKEND_STORE_URI": database,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        **_POOL,
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    command += ["--serve-artifacts", "--artifacts-destination", str(folder / "artifacts")]
    command += ["--workers", str(workers or min(4, os.cpu_count() or 1))]
    if auth:
        settings, secret = folder / "auth.ini", folder / "secret"
        if not settings.exists():
            # In an .ini file, % begins a variable's name and must be doubled.
            uri, password = database.replace("%", "%%"), secrets.token_urlsafe(24)
            _write_secret(settings, _AUTH_INI.format(database_uri=uri, admin_password=password))
        if not secret.exists():
            _write_secret(secret, secrets.token_hex(32))
        environment["MLFLOW_AUTH_CONFIG_PATH"] = str(settings)
        environment["MLFLOW_FLASK_SERVER_SECRET_KEY"] = secret.read_text()
        command += ["--app-name", "basic-auth"]
    log = folder / "mlflow.log"
    with log.open("w") as said:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            start_new_session=True,
        )  # fmt: skip
    (folder / "mlflow.pid").write_text(json.dumps({"pid": process.pid, "began": _began(process.pid), **asked_for}))
    uri, deadline = f"http://{HOST}:{port}", time.monotonic() + _SECONDS_TO_START
    while not _answers(uri):
        if process.poll() is not None or time.monotonic() > deadline:
            stop_mlflow(folder)
            raise ServiceError(f"mlflow server does not start ({log}): {_last_line(log)}")
        time.sleep(0.1)
    return uri


def stop_mlflow(folder: Path) -> None:
    """Stops the MLflow server of a folder with all its processes; does nothing if it does not run."""
    folder = folder.absolute()
    pid = _running_mlflow(folder)
    if pid is not None:
        for number, seconds in ((signal.SIGTERM, _SECONDS_TO_STOP), (signal.SIGKILL, 5.0)):
            deadline = time.monotonic() + seconds
            with suppress(ProcessLookupError):
                os.killpg(pid, number)
                while _began(pid) is not None and time.monotonic() < deadline:
                    with suppress(ChildProcessError):  # another process started the server and reaps it
                        os.waitpid(pid, os.WNOHANG)
                    time.sleep(0.05)
        with suppress(ProcessLookupError):  # kills workers that outlive the server
            os.killpg(pid, signal.SIGKILL)
    (folder / "mlflow.pid").unlink(missing_ok=True)


def admin_password(folder: Path) -> str:
    """Returns the initial password of the user ``admin`` of a server that was started with ``auth``."""
    (line,) = (line for line in (folder / "auth.ini").read_text().splitlines() if line.startswith("admin_password"))
    return line.partition(" = ")[2]


def _check_libraries(database: str, auth: bool) -> None:
    wanted = ["mlflow"] + (["psycopg2"] if "psycopg2" in database else []) + (["flask_wtf"] if auth else [])
    missing = [name for name in wanted if find_spec(name) is None]
    if missing:
        raise ServiceError(f"this Python has no {', '.join(missing)}: pip install 'seqadd[server]'")


def _running_mlflow(folder: Path) -> int | None:
    """Returns the process ID of a folder's server, which is also its process group; None if it does not run."""
    try:
        written = json.loads((folder / "mlflow.pid").read_text())
        return int(written["pid"]) if _began(written["pid"]) == written["began"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _began(pid: int) -> int | None:
    """Returns when a process began, in ticks since boot, to detect a reused process ID.

    None if the process has ended.
    """
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(fields[18])


def _answers(uri: str) -> bool:
    try:
        with urllib.request.urlopen(f"{uri}/health", timeout=5):
            return True
    except (OSError, urllib.error.URLError):
        return False


def _port(remembered: Path, wanted: int | None) -> int:
    """Returns the port to listen on and saves it, so that a restarted service keeps its URI."""
    if wanted is None and remembered.exists():
        wanted = int(remembered.read_text())
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind((HOST, wanted or 0))
        except (OSError, OverflowError) as error:
            raise ServiceError(f"port {wanted} of {HOST} cannot be had ({error}); choose another with --port") from None
        port = int(attempt.getsockname()[1])
    remembered.write_text(f"{port}\n")
    return port


def _made(folder: Path) -> Path:
    """Returns the absolute folder; a new one gets mode 0711, so that PostgreSQL's user can traverse but not list it."""
    folder = folder.absolute()
    try:
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o711)
    except OSError as error:
        raise ServiceError(f"{folder}: cannot be made ({error.strerror})") from None
    return folder


def _write_secret(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def _last_line(log: Path) -> str:
    """Returns the last error line of a service's log."""
    with suppress(OSError):
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        wrong = [line for line in lines if "FATAL" in line or "Error" in line or "Exception" in line]
        return (wrong or lines or ["it says nothing"])[-1]
    return "it says nothing"


def main() -> int:
    """Command line; on an error it prints one line and returns exit code 1."""
    summary, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=more, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["start", "stop"])
    parser.add_argument("service", choices=["postgres", "mlflow"])
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--port", type=int, help="default: the one that it had, or any that is free")
    parser.add_argument("--database", metavar="URI", help="what `start postgres` printed, or any of SQLAlchemy's")
    parser.add_argument("--auth", action="store_true", help="ask for name and password")
    chosen = parser.parse_args()
    if chosen.what == "start" and chosen.service == "mlflow" and chosen.database is None:
        parser.error("start mlflow needs --database URI")
    try:
        if chosen.what == "stop":
            {"postgres": stop_postgres, "mlflow": stop_mlflow}[chosen.service](chosen.folder)
        elif chosen.service == "postgres":
            print(start_postgres(chosen.folder, chosen.port))
        else:
            print(start_mlflow(chosen.folder, chosen.database, chosen.port, auth=chosen.auth))
            if chosen.auth:
                settings = chosen.folder / "auth.ini"
                print(f"its user admin has the password that is in {settings}", file=sys.stderr)
    except ServiceError as error:
        print(f"services: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
