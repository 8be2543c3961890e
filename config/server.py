"""The web server that `make run` starts: its port and its command line.

Only the standard library: config/first_run.py uses it before anything is installed.
"""

import argparse
import errno
import socket
import sys

HOST = "127.0.0.1"


def port_number(text: str) -> int:
    """A TCP port, for argparse."""
    try:
        port = int(text)
    except ValueError:
        port = 0
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"PORT must be a number from 1 to 65535, not {text!r}.")
    return port


def problem_with(port: int) -> str:
    """Why nothing can be served on this port, in a sentence; empty if it can."""
    with socket.socket() as probe:
        # As gunicorn does it: the remains of closed connections do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                other = port + 10 if port < 65000 else 8000
                return f"Port {port} is in use already. Choose another one: make run PORT={other}"
            return f"Port {port} cannot be used: {error.strerror}. Choose another one with PORT=."
    return ""


def free_port(wanted: int) -> int:
    """The wanted port, or any free one in its place."""
    if 1 <= wanted <= 65535 and not problem_with(wanted):
        return wanted
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def gunicorn_command(port: int) -> list[str]:
    """To be started in the project's folder, where gunicorn.conf.py has the rest."""
    bind = ["--bind", f"{HOST}:{port}"]
    return [sys.executable, "-m", "gunicorn", "config.wsgi:application", *bind]
