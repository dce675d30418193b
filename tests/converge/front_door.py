"""What tests of the front door need: raw requests from any network, and what of them reaches the server behind it."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from converge.fleet_directory import FleetDirectory
from lab import Lab
from lab.client import Client
from lab.host import Host

PORT = 11443
UNIT = "ollama-fleet-access.service"
FOLDER = "/etc/ollama-fleet/access"

ASK = r"""
import http.client, json, ssl, sys
from concurrent.futures import ThreadPoolExecutor
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

def ask(address, method, path, token):
    connection = http.client.HTTPSConnection(address, 11443, timeout=float(sys.argv[2]), context=context)
    try:
        headers = {} if token is None else {"Authorization": "Bearer " + token}
        connection.request(method, path, b"{}" if method == "POST" else None, headers)
        return connection.getresponse().status
    except OSError as error:
        return "shut"
    finally:
        connection.close()

with ThreadPoolExecutor(48) as pool:
    print(json.dumps(list(pool.map(lambda request: ask(*request), json.loads(sys.argv[1])))))
"""

RECORDER = r"""
import http.server, json, os, socketserver, time

class Recorder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        with open("/var/lib/recorded", "a") as file:  # first of all, whatever the body is like
            told = [self.command, self.path, self.headers.get("Authorization"), self.headers.get("Host")]
            file.write(json.dumps(told) + "\n")
        self.take_body()
        if self.path == "/api/generate":
            return self.stream()
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def take_body(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        left = 1 if "chunked" in (self.headers.get("Transfer-Encoding") or "") else 0
        while left:
            left = int(self.rfile.readline().split(b";")[0] or b"0", 16)
            self.rfile.read(left + 2)

    def stream(self):
        # Three lines; each but the first waits for a word of the test's.
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(3):
            while number and not os.path.exists(f"/var/lib/go-{number}"):
                time.sleep(0.02)
            line = json.dumps({"response": str(number), "done": number == 2}).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def __getattr__(self, name):
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def log_message(self, *_):
        pass

class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 256

Server(("127.0.0.1", 11434), Recorder).serve_forever()
"""


@cache
def trusting(*protocols: str) -> ssl.SSLContext:
    """TLS with whatever certificate there is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


@dataclass
class FrontDoor:
    """A host with a front door, and the fleet that it belongs to."""

    fleet: FleetDirectory
    host: Host
    lab: Lab

    def address(self, network: str, family: int) -> str:
        if network == "lan":
            return self.host.address6 if family == 6 else self.host.address
        return self.host.office_address(family) if network == "office" else self.host.outside_address(family)

    def ask(
        self, network: str, requests: Sequence[tuple[int, str, str, str | None]], patience: float
    ) -> list[int | str]:
        """Status of each request (family, method, path, token) made in a network, or `shut` after so many seconds."""
        told = json.dumps([(self.address(network, family), *rest) for family, *rest in requests])
        argv = [sys.executable, "-c", ASK, told, str(patience)]
        clients: Mapping[str, Client] = {"office": self.lab.office, "outside": self.lab.outside}
        if network in clients:
            out = clients[network].run(argv, check=True, timeout=240).stdout
        else:
            out = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=240).stdout
        found: list[int | str] = json.loads(out)
        return found

    def connect(self, *protocols: str) -> ssl.SSLSocket:
        """A connection to the door, from this machine; for HTTP/1.1 where no protocol is named."""
        plain = socket.create_connection((self.host.address, PORT), timeout=10)
        return trusting(*protocols).wrap_socket(plain, server_hostname=self.host.name)

    def answer(self, raw: bytes, *protocols: str, patience: float = 1) -> bytes:
        """What is answered to these bytes: to its end, or until nothing more comes for a moment.

        Nothing, where they are refused, or where the rest of a body is waited for.
        """
        found = b""
        try:
            with self.connect(*protocols) as connection:
                connection.settimeout(patience)
                connection.sendall(raw)
                while piece := connection.recv(65536):
                    found += piece
                    connection.settimeout(0.1)  # the connection stays open for a next request
        except OSError:
            pass
        return found

    def answer_h2(self, raw: bytes) -> bytes:
        """The same by HTTP/2."""
        return self.answer(raw, "h2")

    def http(self) -> http.client.HTTPSConnection:
        """The same, spoken to by HTTP; an answer may take long."""
        return http.client.HTTPSConnection(self.host.address, PORT, timeout=120, context=trusting())

    def status(self, method: str, path: str, token: str | None, body: bytes | None = None) -> int:
        """Ask once, from this machine."""
        connection = self.http()
        try:
            connection.request(
                method, path, body, {} if token is None else {"Authorization": f"Bearer {token}"}
            )
            return connection.getresponse().status
        finally:
            connection.close()

    def access_log(self) -> str:
        """What the proxy has told, up to a request of alice's at least."""
        told, log = '"user_id":"alice"', ""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and told not in log:
            log = self.host.run(f"journalctl --sync; journalctl --no-pager -u {UNIT}").stdout
        assert told in log
        return log

    def announce(self, method: str, path: str, token: str, size: int) -> int:
        """Ask with a body of this many bytes, which the door may refuse before it comes."""
        connection = self.http()
        try:
            connection.putrequest(method, path)
            connection.putheader("Authorization", f"Bearer {token}")
            connection.putheader("Content-Length", str(size))
            connection.endheaders()
            return connection.getresponse().status
        finally:
            connection.close()

    def record(self) -> None:
        """Put something in Ollama's place that writes down all that reaches it."""
        self.host.run("systemctl stop ollama && rm -f /var/lib/recorded /var/lib/go-*")
        self.host.write("/usr/local/lib/recorder.py", RECORDER)
        self.host.run(
            "systemctl reset-failed recorder 2>/dev/null; systemd-run --quiet --collect --unit=recorder "
            "python3 /usr/local/lib/recorder.py"
        )
        self._until("curl -s http://127.0.0.1:11434/")
        self.forget()

    def forget(self) -> None:
        """Let the record begin anew."""
        self.host.run("rm -f /var/lib/recorded; touch /var/lib/recorded")

    def recorded(self) -> list[list[str | None]]:
        """Method, path, Authorization and Host of what has reached it through the door."""
        lines = self.host.read("/var/lib/recorded").splitlines()
        return [json.loads(line) for line in lines]

    @contextmanager
    def recording(self) -> Iterator[None]:
        """`record`, and Ollama again in the end."""
        self.record()
        try:
            yield
        finally:
            self.stop_recording()

    def stop_recording(self) -> None:
        # Tests do this more often than systemd lets a service start.
        self.host.run("systemctl stop recorder; systemctl reset-failed ollama; systemctl start ollama")
        self._until("/usr/local/bin/ollama list")

    def _until(self, command: str) -> None:
        for _ in range(200):
            if self.host.run(command, check=False).returncode == 0:
                return
            time.sleep(0.1)
        raise AssertionError(f"never came to be: {command}")
