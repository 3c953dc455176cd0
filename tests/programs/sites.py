"""Configurations of web servers: fixtures that write one and return its path."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

LIGHTTPD = """
server.document-root = "{www}"
server.port = 80
server.bind = "{bind}"
server.max-keep-alive-requests = 1000
index-file.names = ("page.html")
mimetype.assign = (".txt" => "text/plain", ".html" => "text/html")
{more}
"""

NGINX = """
user www-data;
worker_processes 2;
daemon off;
pid {base}/nginx.pid;
error_log {base}/error.log info;
events {{ worker_connections 512; {events} }}
http {{
  default_type text/plain;
  access_log off;
  sendfile {sendfile};
  tcp_nopush on;
  keepalive_requests 100000;
  client_body_temp_path {base}/body;
  proxy_temp_path {base}/proxy;
  fastcgi_temp_path {base}/fastcgi;
  uwsgi_temp_path {base}/uwsgi;
  scgi_temp_path {base}/scgi;
  server {{
    listen {listen};
    root {www};
    index page.html;
    location = /version {{ return 200 "{version}"; }}
    location = /worker {{ return 200 "$pid"; }}
  }}
}}
"""


@pytest.fixture
def lighttpd_config(www: Path, tmp_path: Path) -> Callable[..., str]:
    def write(bind: str = "0.0.0.0", more: str = "") -> str:
        path = tmp_path / "site.conf"
        path.write_text(LIGHTTPD.format(www=www, bind=bind, more=more))
        return str(path)

    return write


@pytest.fixture
def nginx_config(www: Path, tmp_path: Path) -> Callable[..., str]:
    def write(listen: str = "80", sendfile: str = "on", events: str = "", version: str = "one") -> str:
        path = tmp_path / "nginx.conf"
        path.write_text(
            NGINX.format(
                base=tmp_path, www=www, listen=listen, sendfile=sendfile, events=events, version=version
            )
        )
        return str(path)

    return write
