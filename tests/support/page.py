"""A page to test against, in this process or in one of its own, and a browser without a screen."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import ssl
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import numpy as np
from PIL import Image
from support.ports import free_port
from support.studies import small_study

from fedpriv.model.folder import Claim, card_for, save_model

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "a long sentence nobody guesses"
CLAIM = Claim(unit="image", noise="local", delta=1e-5, epsilon=7.5, candidate_success=0.43)
NO_CLAIM = Claim(unit="image", noise="none", delta=1e-5)

_START_S = 90


def tiny_run(folder: Path, claim: Claim = CLAIM) -> Path:
    """A run in ``folder`` whose model has random weights and looks at 64 x 64 pixels."""
    from fedpriv.model.network import build_model
    from fedpriv.model.weights import dimension

    study = small_study()
    vector = np.random.default_rng(0).normal(0, 0.5, dimension(build_model(study))).astype("<f4")
    save_model(folder / "model", card_for(study, vector, rounds=4, claim=claim), vector)
    return folder


def drawn_smear(seed: int = 0, kind: str = "PNG", **options: object) -> bytes:
    """A drawn smear as the bytes of a file; ``kind`` and ``options`` are Pillow's."""
    from fedpriv.smears.drawing.field import POPULATIONS, draw_field, draw_patient
    from fedpriv.smears.drawing.stain import hospital_stain

    rng = np.random.default_rng([seed, 11])
    label = tuple(POPULATIONS)[seed % len(POPULATIONS)]
    pixels = draw_field(rng, draw_patient(rng, label, hospital_stain(rng, seed)))
    return encode(Image.fromarray(pixels), kind, **options)


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    """The bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def fedpriv(*arguments: object, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """One command line in a process of its own: Django can be set up once in a process."""
    return subprocess.run(
        [sys.executable, "-m", "fedpriv", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@dataclass
class RunningPage:
    """A page that runs in processes of its own, its log in a file."""

    process: subprocess.Popen[bytes]
    port: int
    home: Path
    temporary: Path
    log: Path
    tls: bool

    def browser(self) -> Browser:
        """A browser that knows nothing yet."""
        return Browser(self.port, tls=self.tls)

    def stop(self) -> int:
        """End it as Ctrl-C does and give its exit code."""
        self.process.terminate()
        return self.process.wait(30)


def start_page(folder: Path, run: Path, *options: str, users: tuple[str, ...] = ("ana",)) -> RunningPage:
    """Add ``users`` to a page in ``folder`` and start it with a temporary folder of its own."""
    home, temporary, log = folder / "home", folder / "tmp", folder / "log"
    temporary.mkdir(parents=True)
    for name in users:
        added = fedpriv("page", "user", "add", name, "--home", home, stdin=f"{PASSWORD}\n")
        assert added.returncode == 0, added.stderr
    port = free_port()
    command = [sys.executable, "-m", "fedpriv", "page", "start", "--model", str(run)]
    command.extend(["--home", str(home), "--port", str(port), *options])
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            stdout=sink,
            stderr=sink,
            env={**os.environ, "TMPDIR": str(temporary)},
        )
    page = RunningPage(process, port, home, temporary, log, tls="--cert" in options)
    deadline = time.monotonic() + _START_S
    while "Ctrl-C ends it" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return page


@dataclass
class Answer:
    """One HTTP response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> dict[str, object]:
        """The body as JSON."""
        return json.loads(self.body)  # type: ignore[no-any-return]


@dataclass
class Browser:
    """Keeps one connection and its cookies."""

    port: int
    tls: bool = False
    cookies: dict[str, str] = field(default_factory=dict)
    token: str = ""
    _connection: http.client.HTTPConnection | None = None

    def get(self, path: str, **headers: str) -> Answer:
        """Fetch a page and remember its form's token."""
        return self.send("GET", path, b"", headers)

    def log_in(self, name: str = "ana", password: str = PASSWORD) -> Answer:
        """Fill in the form."""
        self.get("/login")
        form = {"username": name, "password": password, "csrfmiddlewaretoken": self.token}
        kind = "application/x-www-form-urlencoded"
        answer = self.send("POST", "/login", urlencode(form).encode(), {"Content-Type": kind})
        self.get("/")
        return answer

    def upload(self, *files: tuple[str, bytes], page: bool = False, field_name: str = "images") -> Answer:
        """Send files; JSON comes back unless a ``page`` is asked for."""
        body, kind = multipart(self.token, files, field_name)
        headers = {"Content-Type": kind} | ({} if page else {"Accept": "application/json"})
        return self.send("POST", "/read", body, headers)

    def send(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        """One request; a connection that the server has closed is opened again."""
        origin = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"
        headers = {"Origin": origin, "Referer": f"{origin}/", **headers}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = self._exchange(method, path, body, headers)
        for cookie in answer.headers.get_all("Set-Cookie") or []:
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        token = re.search(rb'name="csrfmiddlewaretoken" value="(\w+)"', answer.body)
        self.token = token[1].decode() if token else self.token
        return answer

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _exchange(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        for attempt in range(2):
            if self._connection is None:
                self._connection = self._connect()
            try:
                self._connection.request(method, path, body or None, headers)
                response = self._connection.getresponse()
                answer = Answer(response.status, response.headers, response.read())
            except (http.client.RemoteDisconnected, ConnectionError, ssl.SSLEOFError):
                self.close()
                if attempt:
                    raise
                continue
            if response.will_close:
                self.close()
            return answer
        raise AssertionError

    def _connect(self) -> http.client.HTTPConnection:
        if not self.tls:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)


def multipart(token: str, files: tuple[tuple[str, bytes], ...], field_name: str) -> tuple[bytes, str]:
    """A form with files, as a browser sends it: the body and its content type."""
    boundary = uuid.uuid4().hex
    parts = [b'Content-Disposition: form-data; name="csrfmiddlewaretoken"\r\n\r\n' + token.encode()]
    for name, data in files:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"').encode()
        head = b'Content-Disposition: form-data; name="%s"; filename="%s"\r\n' % (field_name.encode(), quoted)
        parts.append(head + b"Content-Type: application/octet-stream\r\n\r\n" + data)
    mark = b"--" + boundary.encode()
    body = b"".join(mark + b"\r\n" + part + b"\r\n" for part in parts) + mark + b"--\r\n"
    return body, f"multipart/form-data; boundary={boundary}"
