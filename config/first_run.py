"""Write `.env` on the first start: fresh keys, and where to put those of QuickBooks.

python -m config.first_run [--port 8000]. Needs nothing but the standard library, so it also
serves an installation in containers.
"""

import argparse
import base64
import os
import secrets
import sys
from pathlib import Path

from config.server import HOST, port_number

ENV_FILE = Path(__file__).resolve().parent.parent / ".env"

TEMPLATE = """\
# The settings of this installation. The README explains all of them.
# Keep a copy of this file in a safe place, apart from the backups of the database:
# without TOKEN_ENCRYPTION_KEYS the stored connection to QuickBooks cannot be read any more.

# Signs sessions and forms. Nobody else may know it.
SECRET_KEY={secret_key}

# Encrypts the QuickBooks tokens in the database. To change it, see "Changing the keys" in the
# README; simply replacing it would lose the connection.
TOKEN_ENCRYPTION_KEYS={token_key}

# Where people open this installation. Also tells it from copies of its database.
# Before you connect: Intuit takes http://localhost:8000 for a sandbox, https://… for real
# books, and never an address of digits.
SITE_URL={site_url}

# This machine is reached without https. Behind https, delete these two lines.
SECURE_SSL_REDIRECT=False
SECURE_COOKIES=False

# The keys of your app at Intuit. While both are empty, `make run` starts the demo.
# How to get them, step by step: README.md, "Connecting a real company".
QUICKBOOKS_CLIENT_ID=
QUICKBOOKS_CLIENT_SECRET=

# sandbox while you try it out, production for the real books.
QUICKBOOKS_ENVIRONMENT=sandbox

# Only compose.yaml reads this one: the password of its database.
POSTGRES_PASSWORD={database_password}
"""


def write_env(path: Path, port: int) -> bool:
    """Write the file unless it exists; only its owner may read it. True if it was written."""
    text = TEMPLATE.format(
        secret_key=secrets.token_urlsafe(50),
        # What Fernet.generate_key() makes.
        token_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        site_url=f"http://{HOST}:{port}",
        database_password=secrets.token_hex(16),
    )
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    return True


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="make run", usage="make run [PORT=8000]")
    parser.add_argument("--port", type=port_number, default=8000)
    port = parser.parse_args(arguments).port
    try:
        if write_env(ENV_FILE, port):
            print(f"Wrote {ENV_FILE} with fresh keys.")
    except OSError as error:
        sys.exit(f"{ENV_FILE} cannot be written: {error.strerror}.")


if __name__ == "__main__":
    main(sys.argv[1:])
