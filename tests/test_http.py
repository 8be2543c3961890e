"""The door to the network: whatever the other side does, an exchange ends in time and says why."""

import contextlib
import datetime as dt
import ipaddress
import os
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from integrations import http
from integrations.connections import IDLE_SECONDS
from integrations.deadline import Deadline
from integrations.http import BODY_CAP, ExchangeError, Failure, exchange, pooled_session, prepare
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World
from tests.conftest import HARBOUR
from tests.support import EchoServer, Server, within

DEADLINE = 0.3
PATH = f"/v3/company/{HARBOUR}/companyinfo/{HARBOUR}"
SECRET = "never-to-be-seen-0123456789"


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        prepare(session)
        yield session


def ask(session: requests.Session, url: str, seconds: float = DEADLINE) -> requests.Response:
    return exchange(
        session,
        "GET",
        url,
        Deadline(seconds),
        headers={"Authorization": f"Bearer {SECRET}"},
        params={"code": SECRET},
    )


def fail(session: requests.Session, url: str, seconds: float = DEADLINE) -> ExchangeError:
    """The error of an exchange that must not work, and must be over in time."""
    with within(seconds + 1), pytest.raises(ExchangeError) as caught:
        ask(session, url, seconds)
    told = "".join(traceback.format_exception(caught.value))
    for text in (repr(caught.value), str(caught.value), caught.value.detail, told):
        assert SECRET not in text
    assert SECRET not in repr(vars(caught.value))
    return caught.value


# ── what the other side does ──────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("fault", "failure", "status"),
    [
        ("hang", Failure.TIMEOUT, None),
        ("slow_headers", Failure.TIMEOUT, ...),
        ("drip", Failure.TIMEOUT, ...),
        ("flood", Failure.TOO_LARGE, 200),
        ("flood_length", Failure.TOO_LARGE, 200),
        ("reset", Failure.NETWORK, None),
        ("reset_mid_body", Failure.NETWORK, 200),
        ("close", Failure.NETWORK, None),
        ("truncated", Failure.BROKEN, 200),
        ("huge_header", Failure.BROKEN, None),
        ("no_status_line", Failure.BROKEN, None),
    ],
)
def test_it_gives_up_in_time_and_says_why(
    session: requests.Session,
    simulator: Simulator,
    world: World,
    fault: str,
    failure: Failure,
    status: Any,
) -> None:
    world.set_fault("api", fault)
    # Long enough for a busy machine where it is not the deadline that ends it.
    error = fail(session, simulator.api_url + PATH, DEADLINE if failure is Failure.TIMEOUT else 5)
    assert (error.failure, error.sent) == (failure, True)
    assert status in (error.status, ...)  # of half an answer the status may be known or not
    assert len(world.calls("api")) == 1


def test_the_connection_of_a_failure_is_not_used_again(
    session: requests.Session, simulator: Simulator, world: World
) -> None:
    for fault in ("hang", "drip", "flood", "truncated", "slow_headers"):
        world.fail_next("api", fault)
        fail(session, simulator.api_url + PATH)
        assert ask(session, simulator.api_url + PATH, 5).status_code == 401


def test_it_follows_no_redirect(
    session: requests.Session, simulator: Simulator, world: World
) -> None:
    world.set_fault("api", "redirect")
    assert ask(session, simulator.api_url + PATH, 5).status_code == 302
    assert [call.endpoint for call in world.calls()] == ["api"]


@pytest.mark.parametrize(("size", "fits"), [(BODY_CAP, True), (BODY_CAP + 1, False)])
def test_it_reads_a_mebibyte_and_no_more(session: requests.Session, size: int, fits: bool) -> None:
    with answering(b"Content-Length: %d\r\n\r\n" % size + b"x" * size) as url:
        if fits:
            assert len(ask(session, url, 5).content) == size
        else:
            assert fail(session, url, 5).failure is Failure.TOO_LARGE


def test_a_compressed_answer_is_not_unpacked(session: requests.Session) -> None:
    bomb = b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"
    with answering(bomb) as url:
        assert ask(session, url, 5).content == b"\x1f\x8b\x08\x00"


@contextlib.contextmanager
def answering(rest: bytes) -> Iterator[str]:
    """A server that answers each request with a 200 and these headers and body."""

    def serve(server: Server, connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + rest)
        server.over.wait(5)

    with Server(serve) as server:
        yield f"http://127.0.0.1:{server.port}/"


@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: minus five\r\n\r\nhello",
        b"Transfer-Encoding: chunked\r\n\r\nfive\r\nhello\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
        b"Location: http://[::1\r\nContent-Length: 1000\r\n\r\n",
        b"\x00\xff\xfe: \x00\r\n\r\n",
    ],
)
def test_malformed_framing_is_an_orderly_failure(session: requests.Session, rest: bytes) -> None:
    with answering(rest) as url, within(DEADLINE + 1):
        try:
            ask(session, url)
        except ExchangeError as error:
            assert error.failure in {Failure.BROKEN, Failure.TIMEOUT}


class Scripted:
    """A server that answers each connection with the bytes that are its script just then."""

    def __init__(self) -> None:
        self.script = b""

    def __call__(self, server: Server, connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(self.script)


LINES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK",
        b"HTTP/1.0 200",
        b"HTTP/1.1 99999 X",
        b"HTTP/9.9 abc",
        b"HTTP/1.1 204 No Content",
        b"HTTP/1.1 100 Continue",
        b"Content-Length: 5",
        b"Content-Length: -1",
        b"Content-Length: 5, 6",
        b"Content-Length: \xff",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Content-Type: \xe9; charset=none",
        b"Connection: close",
        b"Set-Cookie: a=b; expires=\xff; path=/; domain=[",
        b"Location: //[",
        b"Link: <;;>",
        b"intuit_tid: \xff\x00",
        b": nameless",
        b" folded",
        b"",
        b"5",
        b"hello",
        b"zz",
        b"0",
    ]
) | st.binary(max_size=20)


@settings(deadline=None, max_examples=150)
@given(lines=st.lists(LINES, max_size=8), separator=st.sampled_from([b"\r\n", b"\n"]))
def test_any_bytes_are_an_answer_or_an_orderly_failure(
    lines: list[bytes], separator: bytes
) -> None:
    scripted = Scripted()
    with Server(scripted) as server, requests.Session() as session:
        prepare(session)
        for beginning in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"):
            scripted.script = beginning + separator.join(lines)
            with contextlib.suppress(ExchangeError):
                ask(session, f"http://127.0.0.1:{server.port}/", 5)


# ── no connection ─────────────────────────────────────────────────────────────────────────────
def test_a_refused_connection_sent_nothing(session: requests.Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    error = fail(session, f"http://127.0.0.1:{port}/", 5)
    assert (error.failure, error.sent) == (Failure.NETWORK, False)
    assert error.detail == "the connection was refused"


def test_a_name_without_an_address_sent_nothing(session: requests.Session) -> None:
    error = fail(session, "http://quickbooks.invalid/", 5)
    assert (error.failure, error.sent) == (Failure.NETWORK, False)
    assert error.detail == "the host name cannot be resolved"


def test_a_silent_name_server_holds_nobody_longer(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def silent(*args: Any, **kwargs: Any) -> list[Any]:
        over.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    error = fail(session, "http://quickbooks.invalid/")
    over.set()
    assert (error.failure, error.sent) == (Failure.TIMEOUT, False)


def test_a_connection_that_is_never_accepted_holds_nobody_longer(
    session: requests.Session,
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        waiting = []
        for _ in range(4):  # from some point on the system lets further ones wait
            client = socket.socket()
            client.setblocking(False)
            client.connect_ex(("127.0.0.1", port))
            waiting.append(client)
        error = fail(session, f"http://127.0.0.1:{port}/")
        for client in waiting:
            client.close()
    assert (error.failure, error.sent) == (Failure.TIMEOUT, False)


def test_a_connection_that_breaks_at_the_deadline_is_a_timeout(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """urllib3 takes a broken pipe for an early answer and would go on without a connection."""

    def break_late(self: socket.socket, address: Any) -> None:
        threading.Event().wait(DEADLINE + 0.05)
        raise BrokenPipeError

    monkeypatch.setattr(socket.socket, "connect", break_late)
    error = fail(session, "http://127.0.0.1:9/")
    assert (error.failure, error.sent) == (Failure.TIMEOUT, False)


def test_it_tries_every_address_of_a_name(
    session: requests.Session, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two(host: str, port: int, **kwargs: Any) -> list[Any]:
        dead = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0))
        return [dead, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    url = f"http://localhost:{simulator.port}{PATH}"
    assert ask(session, url, 5).status_code == 401


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of this machine's own, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@contextlib.contextmanager
def tls(certificate: Path, serve: Callable[[Server, ssl.SSLSocket], None]) -> Iterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def wrapped(server: Server, connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            server.received += secure.recv(65536)
            serve(server, secure)

    with Server(wrapped) as server:
        yield server


def say_hello(server: Server, secure: ssl.SSLSocket) -> None:
    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


def drip(server: Server, secure: ssl.SSLSocket) -> None:
    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not server.over.wait(0.02):
        secure.sendall(b" ")


def test_a_certificate_that_nobody_vouches_for_is_refused(
    session: requests.Session, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What other programs on the server may have been told must not count here.
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(certificate))
    with tls(certificate, say_hello) as server:
        error = fail(session, f"https://127.0.0.1:{server.port}/", 5)
    assert (error.failure, error.sent) == (Failure.NETWORK, False)
    assert error.detail == "no secure connection (TLS)"
    assert server.received == b""


def test_a_tls_handshake_that_hangs_sent_nothing(session: requests.Session) -> None:
    def mute(server: Server, connection: socket.socket) -> None:
        server.over.wait(5)

    with Server(mute) as server:
        error = fail(session, f"https://127.0.0.1:{server.port}/")
    assert (error.failure, error.sent) == (Failure.TIMEOUT, False)


def test_a_handshake_that_is_no_tls_is_no_connection(session: requests.Session) -> None:
    def chatty(server: Server, connection: socket.socket) -> None:
        connection.sendall(b"220 mail.example ESMTP\r\n")
        server.over.wait(5)

    with Server(chatty) as server:
        error = fail(session, f"https://127.0.0.1:{server.port}/", 5)
    assert (error.failure, error.sent) == (Failure.NETWORK, False)


def test_the_deadline_holds_inside_of_tls(
    session: requests.Session, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certifi, "where", lambda: str(certificate))
    with tls(certificate, say_hello) as server:
        assert ask(session, f"https://127.0.0.1:{server.port}/", 5).content == b"hello"
    with tls(certificate, drip) as server:
        error = fail(session, f"https://127.0.0.1:{server.port}/", 1)
    assert (error.failure, error.sent, error.status) == (Failure.TIMEOUT, True, 200)


# ── never late ────────────────────────────────────────────────────────────────────────────────
def test_nothing_is_sent_once_the_deadline_is_over(session: requests.Session) -> None:
    with EchoServer() as server:
        error = fail(session, server.url, 0)
        assert (error.failure, error.sent) == (Failure.TIMEOUT, False)
        assert server.connections == 0


@pytest.fixture
def suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine sleeps for an hour right after each connection was made."""
    connect, clock = socket.socket.connect, time.clock_gettime
    slept = [0.0]

    def connect_and_sleep(self: socket.socket, address: Any) -> None:
        connect(self, address)
        slept[0] += 3600

    monkeypatch.setattr(socket.socket, "connect", connect_and_sleep)
    monkeypatch.setattr(time, "clock_gettime", lambda which: clock(which) + slept[0])


@pytest.mark.usefixtures("suspended")
def test_who_was_suspended_after_connecting_sends_nothing(session: requests.Session) -> None:
    def listen(server: Server, connection: socket.socket) -> None:
        while piece := connection.recv(65536):
            server.received += piece
        server.over.set()

    with Server(listen) as server:
        with pytest.raises(ExchangeError) as caught:
            ask(session, f"http://127.0.0.1:{server.port}/", 5)
        assert server.over.wait(5)
        assert server.received == b""
    assert (caught.value.failure, caught.value.sent) == (Failure.TIMEOUT, False)


def test_who_was_suspended_with_an_open_connection_sends_nothing(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = time.clock_gettime
    with EchoServer() as server:
        ask(session, server.url, 5)
        readings = iter([0.0, 0.0, 0.0])  # the deadline is made, the exchange begins; then sleep
        monkeypatch.setattr(
            time, "clock_gettime", lambda which: clock(which) + next(readings, 20.0)
        )
        with pytest.raises(ExchangeError) as caught:
            ask(session, server.url, 5)
        assert (caught.value.failure, caught.value.sent) == (Failure.TIMEOUT, False)
        assert len(server.requests) == 1


def test_an_answer_that_is_complete_counts_although_the_deadline_passed_meanwhile(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EchoServer() as server:
        deadline = Deadline(5)

        def late(response: requests.Response, **options: Any) -> None:
            deadline.expired = True  # the timer came between the last byte and us

        session.hooks["response"] = [late]
        assert exchange(session, "GET", server.url, deadline).content == b"{}"


def test_a_deadline_cuts_one_exchange_and_not_the_next_on_the_same_connection(
    session: requests.Session,
) -> None:
    with EchoServer() as server:
        early = Deadline(30)
        exchange(session, "GET", server.url, early)
        early.expire()  # too late to matter: its exchange is over
        assert ask(session, server.url, 5).status_code == 200
        assert server.connections == 1


# ── one pooled session ────────────────────────────────────────────────────────────────────────
def test_a_process_keeps_its_connection() -> None:
    assert pooled_session() is pooled_session()
    with EchoServer() as server:
        for _ in range(5):
            ask(pooled_session(), server.url, 5)
        assert server.connections == 1
        assert len(server.requests) == 5


def test_simultaneous_exchanges_have_a_connection_each_and_all_are_kept() -> None:
    with EchoServer() as server:
        for _ in range(2):
            threads = [
                threading.Thread(target=ask, args=(pooled_session(), server.url, 5))
                for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert len(server.requests) == 16
        assert server.connections <= 8


def idle_for(session: requests.Session, seconds: float) -> None:
    """As if the connections that it keeps had been idle for so long."""
    pools = session.get_adapter("http://").poolmanager.pools  # type: ignore[attr-defined]
    for pool in map(pools.get, pools.keys()):
        for connection in filter(None, pool.pool.queue):
            connection._used_at -= seconds


def test_a_connection_that_was_idle_for_long_is_not_trusted(session: requests.Session) -> None:
    assert IDLE_SECONDS == 30
    with EchoServer() as server:
        ask(session, server.url, 5)
        idle_for(session, 29)
        ask(session, server.url, 5)
        assert server.connections == 1
        idle_for(session, 31)
        ask(session, server.url, 5)
        assert server.connections == 2


def test_a_connection_that_the_other_side_has_closed_is_replaced(
    session: requests.Session,
) -> None:
    def once(server: Server, connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        connection.shutdown(socket.SHUT_RDWR)
        server.over.set()

    with Server(once) as server:
        url = f"http://127.0.0.1:{server.port}/"
        ask(session, url, 5)
        assert server.over.wait(2)
        assert ask(session, url, 5).status_code == 200
        assert server.connections == 2


@contextlib.contextmanager
def closing_when_used_again() -> Iterator[Server]:
    """It answers the first request of each connection, and hangs up on the second."""

    def serve(server: Server, connection: socket.socket) -> None:
        server.received += connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        server.received += connection.recv(65536)

    with Server(serve) as server:
        yield server


def test_a_connection_that_closes_as_it_is_used_again_is_no_outage(
    session: requests.Session,
) -> None:
    with closing_when_used_again() as server:
        url = f"http://127.0.0.1:{server.port}/"
        for _ in range(3):
            assert ask(session, url, 5).status_code == 200
        assert server.connections == 3
        assert server.received.count(b"GET /") == 3 + 2


def test_a_kept_connection_that_hangs_before_it_closes_is_asked_no_more(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "AT_ONCE_SECONDS", 0.0)
    with closing_when_used_again() as server:
        url = f"http://127.0.0.1:{server.port}/"
        ask(session, url, 5)
        assert fail(session, url, 5).failure is Failure.NETWORK
        assert server.connections == 1


def test_what_may_change_something_is_never_sent_twice(session: requests.Session) -> None:
    with closing_when_used_again() as server:
        url = f"http://127.0.0.1:{server.port}/"
        exchange(session, "POST", url, Deadline(5))
        with pytest.raises(ExchangeError) as refused:
            exchange(session, "POST", url, Deadline(5))
        assert (refused.value.failure, refused.value.sent) == (Failure.NETWORK, True)
        assert server.connections == 1
        assert server.received.count(b"POST /") == 2


def test_a_new_connection_that_closes_without_an_answer_is_an_outage(
    session: requests.Session,
) -> None:
    def hang_up(server: Server, connection: socket.socket) -> None:
        connection.recv(65536)

    with Server(hang_up) as server:
        error = fail(session, f"http://127.0.0.1:{server.port}/", 5)
        assert error.failure is Failure.NETWORK
        assert server.connections == 1


# ── nothing from the environment ──────────────────────────────────────────────────────────────
def test_proxies_and_netrc_of_the_environment_are_ignored(
    session: requests.Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login intruder password intruder\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    assert requests.utils.get_netrc_auth("http://127.0.0.1/") == ("intruder", "intruder")
    with EchoServer() as server:
        ask(session, server.url, 5)
        ask(pooled_session(), server.url, 5)
        assert [got["Authorization"] for got in server.requests] == [f"Bearer {SECRET}"] * 2
        assert [got["Accept-Encoding"] for got in server.requests] == ["identity"] * 2


def test_a_session_keeps_no_cookies_between_companies(session: requests.Session) -> None:
    cookie = b"Set-Cookie: company=first\r\nContent-Length: 2\r\n\r\n{}"
    with answering(cookie) as url, EchoServer() as other:
        ask(session, url, 5)
        ask(session, other.url, 5)
        assert "Cookie" not in other.requests[0]


def test_it_runs_out_of_files_without_a_traceback(session: requests.Session) -> None:
    with EchoServer() as server:
        held: list[int] = []
        try:
            with contextlib.suppress(OSError):
                while len(held) < 100_000:
                    held.append(os.dup(0))
            error = fail(session, server.url, 5)
        finally:
            for number in held:
                os.close(number)
        assert (error.failure, error.sent) == (Failure.NETWORK, False)
