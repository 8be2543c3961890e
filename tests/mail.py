"""A real SMTP server that fails on demand and keeps account of what it took."""

import asyncio
import email
import email.policy
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from enum import Enum
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session
from django.conf import settings


class Fault(Enum):
    NONE = "none"
    SILENT = "hangs before its banner"
    DRIP = "answers one byte at a time"
    LATER = "asks to come back later (4xx)"
    NOBODY = "refuses the recipient (5xx)"
    UNWANTED = "refuses the message (5xx)"
    CLOSING = "closes down (421)"
    CUT = "hangs up in the middle of the message"
    # These two have taken the message.
    DROP = "hangs up before the acknowledgement"
    HANG = "never acknowledges"


@dataclass
class Delivery:
    """A message that the server took. `acknowledged`: the client read that, and said goodbye."""

    message: EmailMessage
    recipient: str
    acknowledged: bool = False

    @property
    def id(self) -> str:
        return str(self.message["Message-ID"])

    @property
    def text(self) -> str:
        return self._body("plain")

    @property
    def html(self) -> str:
        return self._body("html")

    def _body(self, kind: str) -> str:
        part = self.message.get_body((kind,))
        assert part is not None
        return str(part.get_content()).replace("\r\n", "\n")


class _Protocol(SMTP):
    """One connection, with the fault that is in force as it begins."""

    def __init__(self, server: "MailServer", **options: Any) -> None:
        super().__init__(server, **options)
        self.server = server
        self.fault = server.next_fault()
        self.last: Delivery | None = None

    def connection_lost(self, error: Exception | None) -> None:
        self.server.ended()
        super().connection_lost(error)

    async def _handle_client(self) -> None:
        self.server.happened()
        try:
            if self.fault is Fault.SILENT:
                await asyncio.Event().wait()  # until the client hangs up
            await super()._handle_client()
        finally:
            self._writer.close()

    async def push(self, status: Any) -> None:
        if self.fault is not Fault.DRIP:
            await super().push(status)
            return
        raw = status if isinstance(status, bytes) else status.encode()
        for byte in raw + b"\r\n":
            self._writer.write(bytes([byte]))
            await self._writer.drain()
            await asyncio.sleep(0.1)

    async def smtp_DATA(self, arg: str) -> None:
        self.server.happened()
        envelope = self.envelope
        poisoned = envelope is not None and self.server.poison in envelope.rcpt_tos
        if self.fault is Fault.CUT or poisoned:
            await self.push("354 Go on")
            await self._reader.readline()
            self.abort()
        await super().smtp_DATA(arg)

    async def smtp_QUIT(self, arg: str) -> None:
        if self.last is not None:
            self.last.acknowledged = True
        self.server.happened()
        await super().smtp_QUIT(arg)

    def abort(self) -> None:
        self.transport.abort()  # type: ignore[union-attr]
        raise asyncio.CancelledError

    async def take(self, delivery: Delivery) -> str:
        self.last = delivery
        self.server.took(delivery)
        self.server.happened()
        if self.fault is Fault.HANG:
            await asyncio.Event().wait()
        if self.fault is Fault.DROP:
            self.abort()
        return "250 Taken"


class MailServer:
    """Listens on a port of its own; `fault` holds for the connections that begin from now on.

    `weather` is asked instead if it is set, and every message to `poison` is hung up on.
    `on_event` is called in the server's thread as a connection begins, at each step of a message
    and at the goodbye.
    """

    def __init__(self) -> None:
        self.fault = Fault.NONE
        self.weather: Callable[[], Fault] | None = None
        self.poison = ""
        self.on_event: Callable[[], None] = lambda: None
        self.deliveries: list[Delivery] = []
        self.connections = 0
        self._open = 0
        self._news = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._listener: asyncio.Server | None = None
        # Never listens: it keeps the port ours while we refuse connections.
        self._place = _bound(0)
        self.port: int = self._place.getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.listen()

    def listen(self) -> None:
        async def start() -> None:
            if self._listener is None:
                self._listener = await self._loop.create_server(
                    lambda: _Protocol(self, hostname="mail.example", loop=self._loop),
                    sock=_bound(self.port),
                )

        self._do(start())

    def refuse(self) -> None:
        """Connections are refused from now on, until it listens again."""

        async def stop() -> None:
            if self._listener is not None:
                self._listener.close()
                self._listener = None

        self._do(stop())

    def next_fault(self) -> Fault:
        self.connections += 1
        self._open += 1
        return self.weather() if self.weather else self.fault

    def ended(self) -> None:
        self._open -= 1

    def happened(self) -> None:
        self.on_event()

    def took(self, delivery: Delivery) -> None:
        with self._news:
            self.deliveries.append(delivery)
            self._news.notify_all()

    def wait_for(self, count: int, seconds: float = 60.0) -> None:
        """Until it has taken so many messages."""
        with self._news:
            came = self._news.wait_for(lambda: len(self.deliveries) >= count, seconds)
            assert came, f"{len(self.deliveries)} of {count} messages came"

    @property
    def idle(self) -> bool:
        """Nobody is connected."""
        return self._open == 0

    def only(self) -> Delivery:
        [found] = self.deliveries
        return found

    def stop(self) -> None:
        async def end() -> None:
            if self._listener is not None:
                self._listener.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

        self._do(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._place.close()

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    # aiosmtpd asks these of its handler.

    async def handle_RCPT(
        self,
        server: _Protocol,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        match server.fault:
            case Fault.LATER:
                return "451 Come back later"
            case Fault.NOBODY:
                return "550 There is no secret@clinic.example here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: _Protocol, session: Session, envelope: Envelope) -> str:
        match server.fault:
            case Fault.UNWANTED:
                return "554 We do not like this"
            case Fault.CLOSING:
                return "421 Going down"
        assert isinstance(envelope.content, bytes)
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        return await server.take(Delivery(message, envelope.rcpt_tos[0]))

    async def handle_exception(self, error: Exception) -> str:
        return "500 The test's server stumbled"


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound


@contextmanager
def mail_server() -> Iterator[MailServer]:
    server = MailServer()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def mailbox(settings: Any) -> Iterator[MailServer]:
    """A server to which these settings lead."""
    with mail_server() as server:
        use(server.port, settings)
        yield server


def use(port: int, settings: Any = settings) -> None:
    """Let mail be sent there."""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", port


def weather(chance: random.Random, bad: float) -> Callable[[], Fault]:
    """A fault in so many of the connections, such as 0.1."""
    faults = [fault for fault in Fault if fault is not Fault.NONE]
    return lambda: chance.choice(faults) if chance.random() < bad else Fault.NONE
