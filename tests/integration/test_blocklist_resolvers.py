"""The response policy zone in the resolvers that read it: BIND and unbound, started here, with nobody to ask."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from connectors.base import Tools
from connectors.blocklist import MANIFEST
from connectors.blocklist.mapping import FORMATS
from connectors.http import Http
from schemas.feed import FeedRow
from tests.unit.connectors.rows import HEAD, indicator, paged, tombstone, written

NOERROR, NXDOMAIN = 0, 3
READY_SECONDS = 15
LOCAL = {
    "good.example": "198.51.100.1",
    "points.example": "203.0.113.7",
    "near.example": "192.0.2.200",
}
"""What the resolvers know by themselves; the last two are where the list has an address and a network."""

ROWS: Sequence[FeedRow] = (
    indicator("evil.example"),
    indicator("evil.example"),
    indicator("xn--e1afmkfd.example"),
    indicator("_x.odd-name.example"),
    indicator("203.0.113.7", "ipv4"),
    indicator("192.0.2.192/26", "cidr"),
    *(indicator(value, "ipv6") for value in ("2001:db8::1", "2001:db8:0:1:0:0:0:1", "1:2:3:4:5:6:7:8")),
    indicator("2001:db8:ffff::/48", "cidr"),
    tombstone("good.example"),
    indicator("good.example", pap=None),
    indicator("near.example\nevil.example CNAME good.example."),
    indicator("$INCLUDE /etc/passwd"),
    indicator("0.0.0.0.0.rpz-ip", registrable_domain="0.rpz-ip"),
    indicator("a." * 150 + "example"),
)
ASKED = {
    "evil.example": NXDOMAIN,
    "www.evil.example": NXDOMAIN,
    "a.b.evil.example": NXDOMAIN,
    "xn--e1afmkfd.example": NXDOMAIN,
    "_x.odd-name.example": NXDOMAIN,
    "points.example": NXDOMAIN,
    "near.example": NXDOMAIN,
    "good.example": NOERROR,
}

NAMED = """
options {{
  directory "{folder}"; pid-file none; session-keyfile "{folder}/session.key"; lock-file none;
  listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
  recursion yes; allow-query {{ any; }}; dnssec-validation no; forwarders {{ }};
  response-policy {{ zone "rpz.tocsin"; }} qname-wait-recurse no;
}};
controls {{ }};
zone "rpz.tocsin" {{ type primary; file "{zone}"; check-names fail; }};
{zones}
"""
UNBOUND = """
server:
  directory: "{folder}"
  username: ""
  chroot: ""
  pidfile: ""
  use-syslog: no
  interface: 127.0.0.1@{port}
  do-ip6: no
  module-config: "respip iterator"
  do-not-query-localhost: yes
remote-control:
  control-enable: no
rpz:
  name: "rpz.tocsin"
  zonefile: "{zone}"
{zones}
"""


def find(program: str) -> str:
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if path is None:
        pytest.skip(f"needs {program} (Debian: bind9, unbound)")
    return path


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def local_zone(folder: Path, name: str) -> Path:
    file = folder / f"{name}.zone"
    file.write_text(
        f"$TTL 60\n@ SOA localhost. root.localhost. ( 1 60 60 60 60 )\n@ NS localhost.\n@ A {LOCAL[name]}\n"
    )
    return file


def configured(program: str, folder: Path, zone: Path, port: int) -> list[str]:
    """Writes the configuration, and gives the command."""
    config = folder / "config"
    if program == "named":
        zones = [f'zone "{name}" {{ type primary; file "{local_zone(folder, name)}"; }};' for name in LOCAL]
        config.write_text(NAMED.format(folder=folder, port=port, zone=zone, zones="\n".join(zones)))
        return [find("named"), "-g", "-n", "1", "-c", str(config)]
    zones = [
        f'auth-zone:\n  name: "{name}"\n  zonefile: "{local_zone(folder, name)}"\n  for-downstream: no\n'
        "  for-upstream: yes\n  fallback-enabled: no\n"
        for name in LOCAL
    ]
    config.write_text(UNBOUND.format(folder=folder, port=port, zone=zone, zones="".join(zones)))
    return [find("unbound"), "-d", "-c", str(config)]


def ask(port: int, name: str, seconds: float = 5.0) -> int:
    """The response code for the address of a name (RFC 1035 section 4.1)."""
    question = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.settimeout(seconds)
        one.sendto(
            struct.pack(">6H", 7, 0x0100, 1, 0, 0, 0) + question + struct.pack(">2H", 1, 1), ("127.0.0.1", port)
        )
        return one.recv(512)[3] & 0x0F


@contextmanager
def resolver(program: str, folder: Path, zone: Path) -> Iterator[int]:
    """The port of a server that has the zone; its log is shown where it does not come up."""
    port = free_port()
    log = folder / "log"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            configured(program, folder, zone, port), stdout=out, stderr=subprocess.STDOUT, cwd=folder
        ) as process,
    ):
        try:
            until = time.monotonic() + READY_SECONDS
            while True:
                assert process.poll() is None and time.monotonic() < until, log.read_text()
                with suppress(OSError):
                    if ask(port, "good.example", 0.5) == NOERROR:
                        break
                time.sleep(0.1)
            yield port
        finally:
            process.kill()


@pytest.fixture(params=["named", "unbound"])
def program(request: pytest.FixtureRequest) -> str:
    find(request.param)
    return str(request.param)


def test_the_list_answers_and_nothing_else_does(program: str, tmp_path: Path) -> None:
    zone = tmp_path / "rpz.zone"
    zone.write_bytes(written(FORMATS["rpz"], ROWS))
    with resolver(program, tmp_path, zone) as port:
        assert {name: ask(port, name) for name in ASKED} == ASKED
    log = (tmp_path / "log").read_text()
    assert not any(word in log for word in ("invalid", "bad owner", "syntax", "parse error", "not canonical")), log


async def test_what_is_published_is_a_zone_by_its_own_name(program: str, tmp_path: Path) -> None:
    """And what is withdrawn is free again after the next."""
    settings = MANIFEST.settings(folder=tmp_path, formats=("rpz", "ips"), zone="rpz.tocsin")  # type: ignore[call-arg]
    assert MANIFEST.publish
    publisher = await MANIFEST.publish(settings, Tools(Http(()), lambda _: b"", lambda: 0, "meadow"))
    await publisher.publish(HEAD, paged([ROWS[:3], ROWS[3:]]))
    with resolver(program, tmp_path, tmp_path / "rpz.zone") as port:
        found = await asyncio.to_thread(lambda: {name: ask(port, name) for name in ASKED})
    assert found == ASKED
    await publisher.publish(HEAD, paged([ROWS[4:]]))
    await publisher.close()
    assert "evil.example" not in (tmp_path / "rpz.zone").read_text()


def test_bind_takes_the_zone_without_a_warning(tmp_path: Path) -> None:
    zone = tmp_path / "rpz.zone"
    zone.write_bytes(written(FORMATS["rpz"], ROWS))
    checking = [find("named-checkzone"), "-k", "ignore", "rpz.tocsin", str(zone)]
    checked = subprocess.run(checking, capture_output=True, text=True, check=False)
    assert checked.returncode == 0 and "OK" in checked.stdout, checked.stdout + checked.stderr
