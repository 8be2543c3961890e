"""What no orderly server does. Each function has the raw socket, which is closed afterwards."""

from integrations.stand_in import head
from quickbooks.simulator.wire import JSON, Wire

DRIP_LENGTH = 100_000  # below any sensible cap: only a deadline ends it
GIGABYTE = 1 << 30
BLOCK = b" " * 65536  # white space is a valid beginning of JSON


def _json_head(length: int) -> bytes:
    return head(200, {"Content-Type": JSON, "Content-Length": str(length)})


def close(wire: Wire) -> None:
    """Not one byte."""


def hang(wire: Wire) -> None:
    wire.over()


def drip(wire: Wire) -> None:
    """Every single read succeeds in time: a timeout per read never fires."""
    wire.sock.sendall(_json_head(DRIP_LENGTH))
    _one_a_second(wire, b" ")


def slow_headers(wire: Wire) -> None:
    wire.sock.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    _one_a_second(wire, b"s")


def _one_a_second(wire: Wire, byte: bytes) -> None:
    wire.sock.sendall(byte)
    while not wire.over(1):
        wire.sock.sendall(byte)


def flood(wire: Wire) -> None:
    """Chunked: there is no length to refuse it by."""
    wire.sock.sendall(head(200, {"Content-Type": JSON, "Transfer-Encoding": "chunked"}))
    while wire.pump(b"%x\r\n%s\r\n" % (len(BLOCK), BLOCK)):
        pass


def flood_length(wire: Wire) -> None:
    wire.sock.sendall(_json_head(GIGABYTE))
    left = GIGABYTE
    while left and wire.pump(BLOCK):
        left -= len(BLOCK)


def reset(wire: Wire) -> None:
    wire.reset()


def reset_mid_body(wire: Wire) -> None:
    wire.sock.sendall(_json_head(1000) + b'{"CompanyInfo":{"CompanyName":')
    wire.reset()


def truncated(wire: Wire) -> None:
    wire.sock.sendall(_json_head(1000) + b'{"CompanyInfo":{"CompanyName":')


def huge_header(wire: Wire) -> None:
    """http.client gives up at 64 kB for one line."""
    wire.sock.sendall(head(200, {"X-Padding": "x" * 200_000, "Content-Length": "0"}))


def no_status_line(wire: Wire) -> None:
    wire.sock.sendall(b"\x15\x03\x01\x00\x02\x02\x46 this is not HTTP\r\n\r\n")
