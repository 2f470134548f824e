"""A real nginx on loopback that serves one folder: at full speed, or through a slow door."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.runner import wait_until

CONFIG = """
daemon off; worker_processes 1; {user} pid {home}/nginx.pid; error_log {home}/error.log warn;
events {{ worker_connections 512; }}
http {{
  types {{}} default_type application/octet-stream;
  log_format served '$status $body_bytes_sent $request_uri';
  access_log {home}/access.log served;
  sendfile on; keepalive_timeout 30; server_tokens off;
  client_body_temp_path {home}/t; proxy_temp_path {home}/t; fastcgi_temp_path {home}/t;
  uwsgi_temp_path {home}/t; scgi_temp_path {home}/t;
  server {{
    listen 127.0.0.1:{port} backlog=512;
    location /full/ {{ alias {data}/; }}
    location ~ "^/rate([0-9]+)/(.*)$" {{ alias {data}/$2; set $limit_rate $1; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Served:
    """A line of the access log: written when the answer ended, however it ended."""

    status: int
    bytes: int
    target: str


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running server. `rate` is bytes a second for each connection; without it, full speed."""

    home: Path
    port: int

    def url(self, name: str, rate: int | None = None) -> str:
        door = f"rate{rate}" if rate else "full"
        return f"http://127.0.0.1:{self.port}/{door}/{name}"

    @property
    def served(self) -> list[Served]:
        lines = (self.home / "access.log").read_text().splitlines()
        parts = (line.split(" ", 2) for line in lines)
        return [Served(int(status), int(size), target) for status, size, target in parts]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(data: Path, home: Path) -> Iterator[Nginx]:
    """Runs nginx until the block ends; its own files are in `home`."""
    home.mkdir(parents=True, exist_ok=True)
    user = "user root;" if os.geteuid() == 0 else ""
    config = home / "nginx.conf"
    for _ in range(5):  # another process may take the port before nginx does
        port = _free_port()
        config.write_text(CONFIG.format(home=home, data=data, port=port, user=user))
        command = ["nginx", "-p", str(home), "-c", str(config), "-e", str(home / "error.log")]
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, env={"PATH": path}) as process:
            try:
                if _starts(process, port):
                    yield Nginx(home, port)
                    return
            finally:
                process.terminate()
                process.wait(10)
    raise AssertionError(f"nginx did not start: {(home / 'error.log').read_text()}")


def _starts(process: subprocess.Popen[bytes], port: int) -> bool:
    """Waits until the server answers, or has given up."""
    wait_until(lambda: process.poll() is not None or _answers(port), 10)
    return process.poll() is None


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
