"""A private PostgreSQL server for tests, from whatever PostgreSQL is installed on this machine."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

START_SECONDS = 30


def find_server() -> Path | None:
    """The folder of `initdb` and `postgres`, of the newest version installed."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    installed = [f.parent for f in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(installed, key=lambda folder: float(folder.parent.name), default=None)


@contextmanager
def running_server(binaries: Path) -> Iterator[str]:
    """Runs a server on a free loopback port with data of its own, and gives its URL; all is removed at the end."""
    user = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="tocsin-postgres-"))
    try:
        if user:
            os.chown(folder, user["user"], user["group"])
        url, port = _initialise(binaries, folder, user)
        with (folder / "server.log").open("wb") as log:
            server = subprocess.Popen(
                _command(binaries, folder, port), stdout=log, stderr=log, cwd=folder, start_new_session=True, **user
            )
        try:
            _wait_for(server, port, folder / "server.log")
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """Makes an empty database on the server and drops it at the end, whoever is still connected."""
    import psycopg

    name = f"tocsin_{secrets.token_hex(8)}"
    base, _, _ = server_url.rpartition("/")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield f"{base}/{name}"
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _unprivileged() -> dict[str, Any]:
    """Arguments for `subprocess` that leave root, under which PostgreSQL does not run."""
    if os.geteuid() != 0:
        return {}
    try:
        account = pwd.getpwnam("postgres")
    except KeyError:
        account = pwd.getpwnam("nobody")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _initialise(binaries: Path, folder: Path, user: dict[str, Any]) -> tuple[str, int]:
    password, password_file = secrets.token_urlsafe(16), folder / "password"
    password_file.write_text(password)
    password_file.chmod(0o600)
    if user:
        os.chown(password_file, user["user"], user["group"])
    subprocess.run(
        [
            binaries / "initdb",
            f"--pgdata={folder / 'data'}",
            f"--pwfile={password_file}",
            "--username=tocsin",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        **user,
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return f"postgresql://tocsin:{password}@127.0.0.1:{port}/postgres", port


def _command(binaries: Path, folder: Path, port: int) -> list[str | Path]:
    settings = {
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",  # the path of a temporary folder may be too long for one
        "fsync": "off",  # the machine does not crash in these tests, only processes do
        "max_connections": "200",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [binaries / "postgres", "-D", folder / "data", *options]


def _wait_for(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < until:
        if "ready to accept connections" in log.read_text("utf-8", "replace"):
            return
        time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not start on port {port}:\n{log.read_text('utf-8', 'replace')[-2000:]}")
