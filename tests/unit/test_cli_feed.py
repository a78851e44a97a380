"""`tocsin feed`: a feed of any size goes to where it is to be, as it comes, and a file is the whole of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner, Result

from schemas.errors import Misconfigured, TocsinError, Unavailable
from services import cli

PART = b"login.example\n" * 10_000
PARTS = 40


class Server(ThreadingHTTPServer):
    """A hub that gives PARTS parts of a feed, but no more than `sent` of them."""

    sent = PARTS
    refuses = False


class Answer(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.server.refuses:
            body = json.dumps({"code": "partner", "title": "No", "detail": "there is no partner 'x'"}).encode()
            self.send_response(404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(PART) * PARTS))
        self.end_headers()
        for _ in range(self.server.sent):
            self.wfile.write(PART)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Answer) as made:
        thread = Thread(target=made.serve_forever)
        thread.start()
        monkeypatch.setenv("TOCSIN_URL", f"http://127.0.0.1:{made.server_port}")
        monkeypatch.setenv("TOCSIN_TOKEN", "tocsin_of-nobody")
        yield made
        made.shutdown()
        thread.join()


def feed(*arguments: object) -> Result:
    return CliRunner().invoke(cli.cli, ["feed", "horizon", "--format", "domains", *map(str, arguments)])


def test_a_feed_goes_to_a_file_or_to_the_standard_output(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "domains.txt"
    found = feed("-o", file)
    assert (found.exit_code, found.output) == (0, f"{file}: {len(PART) * PARTS:,} bytes\n")
    assert file.read_bytes() == PART * PARTS
    assert file.stat().st_mode & 0o007 == 0
    assert feed().stdout_bytes == PART * PARTS


def test_what_is_not_whole_takes_no_file_s_place(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "domains.txt"
    file.write_text("older.example\n")
    server.sent = PARTS - 1
    cut_off = feed("-o", file).exception
    server.refuses = True
    refused = feed("-o", file).exception
    assert isinstance(cut_off, Unavailable) and cut_off.code == "hub-cut-off"
    assert isinstance(refused, TocsinError) and refused.code == "partner"
    assert file.read_text() == "older.example\n"
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_link_stays_one_and_a_device_is_written_to(server: Server, tmp_path: Path) -> None:
    file, link = tmp_path / "domains.txt", tmp_path / "link"
    link.symlink_to(file)
    assert feed("-o", link).exit_code == 0
    assert link.is_symlink() and file.stat().st_size == len(PART) * PARTS
    assert feed("-o", "/dev/null").exit_code == 0
    assert Path("/dev/null").is_char_device()


def test_where_no_file_can_be_is_said(server: Server, tmp_path: Path) -> None:
    error = feed("-o", tmp_path / "missing" / "domains.txt").exception
    assert isinstance(error, Misconfigured) and (error.code, error.where) == (
        "output",
        str(tmp_path / "missing" / "domains.txt"),
    )


def test_whoever_reads_may_have_enough(server: Server) -> None:
    command = [sys.executable, "-m", "services.cli", "feed", "horizon", "--format", "domains"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"login.example\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1
