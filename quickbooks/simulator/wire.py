"""One request on its raw socket: answered in order, or mistreated as no HTTP library would."""

import json
import secrets
import select
import socket
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate

from integrations.stand_in import head, reset_on_close

JSON = "application/json;charset=UTF-8"
XML = "application/xml;charset=UTF-8"
HTML = "text/html; charset=utf-8"
TICK = 0.02


@dataclass(frozen=True, slots=True)
class Reply:
    """An orderly answer."""

    status: int
    body: bytes = field(default=b"", repr=False)
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)
    tid: bool = True  # Intuit's own answers carry intuit_tid, those of a proxy on the way do not

    @classmethod
    def json(cls, status: int, value: object, **headers: str) -> "Reply":
        """What a program gets."""
        return cls(status, json.dumps(value, separators=(",", ":")).encode(), headers=headers)

    @classmethod
    def text(cls, status: int, text: str, content_type: str, *, tid: bool = True) -> "Reply":
        """XML or a page."""
        return cls(status, text.encode(), content_type, tid=tid)

    def encode(self, *, close: bool = False) -> bytes:
        """All of it, to be sent in one go."""
        headers = {"Date": formatdate(usegmt=True), "Content-Type": self.content_type}
        headers |= {
            "Content-Length": str(len(self.body)),
            "Connection": "close" if close else "keep-alive",
        }
        if self.tid:
            headers["intuit_tid"] = f"1-{int(time.time()):08x}-{secrets.token_hex(12)}"
        return head(self.status, headers | self.headers) + self.body


class Wire:
    """What a fault gets hold of: the socket, the world's time, the token of the request."""

    def __init__(
        self, sock: socket.socket, released: threading.Event, now: float, bearer: str
    ) -> None:
        self.sock = sock
        self.released = released
        self.now = now
        self.bearer = bearer
        self.answer: Reply | None = None  # the orderly answer, once the request has been processed

    def gone(self) -> bool:
        """Has the client hung up? Also asked by other threads, while this one sleeps or sends."""
        try:
            readable = select.poll()
            readable.register(self.sock, select.POLLIN)
            return bool(readable.poll(0)) and self.sock.recv(1, socket.MSG_PEEK) == b""
        except (OSError, ValueError):  # reset, or closed on this side
            return True

    def over(self, seconds: float = float("inf")) -> bool:
        """Sleep; True as soon as there is nobody left to sleep for."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.released.wait(min(TICK, left)) or self.gone():
                return True
        return False

    def pump(self, data: bytes) -> bool:
        """Send all of it at the client's pace; False when released meanwhile."""
        view = memoryview(data)
        writable = select.poll()
        writable.register(self.sock, select.POLLOUT)
        while view and not self.released.is_set():
            try:
                view = view[self.sock.send(view, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                writable.poll(TICK * 1000)
        return not view

    def reset(self) -> None:
        """Let the close that follows be an RST."""
        reset_on_close(self.sock)
