"""Keep a container's environment where cron jobs find it: in `.env` beside manage.py.

cron starts its jobs without the environment that the container was given. Run as root when the
container starts: python -m config.cron_environment
"""

import grp
import os
import sys
from collections.abc import Mapping
from pathlib import Path

ENV_FILE = Path(__file__).resolve().parent.parent / ".env"
GROUP = "monitor"


def as_lines(environment: Mapping[str, str]) -> str:
    """`NAME="value"` lines, which django-environ reads back unchanged.

    Raises `ValueError` naming a variable that no line can hold.
    """
    lines = []
    for name, value in sorted(environment.items()):
        if len(value.splitlines()) > 1:
            raise ValueError(f"{name} has more than one line; put it into a file: {name}_FILE.")
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'{name}="{escaped}"\n')
    return "".join(lines)


def main() -> None:
    try:
        text = as_lines(os.environ)
    except ValueError as error:
        sys.exit(str(error))
    group = grp.getgrnam(GROUP).gr_gid
    ENV_FILE.unlink(missing_ok=True)
    # The jobs may read it, and nobody else.
    handle = os.open(ENV_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        os.fchown(file.fileno(), 0, group)
        file.write(text)


if __name__ == "__main__":
    main()
