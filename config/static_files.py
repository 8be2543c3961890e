"""Collect the static files when they have changed; hashing and compressing takes seconds."""

import hashlib
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command


def collect_if_changed() -> None:
    """What `manage.py collectstatic` does, unless the same files were collected already."""
    root = Path(settings.STATIC_ROOT)
    stamp = root / ".collected"
    state = _fingerprint()
    if stamp.is_file() and stamp.read_text() == state:
        return
    call_command("collectstatic", interactive=False, verbosity=0)
    stamp.write_text(state)


def _fingerprint() -> str:
    """Names, sizes and times of all source files, and how they are stored."""
    known = [repr(settings.STORAGES["staticfiles"])]
    for finder in get_finders():
        for name, storage in finder.list([]):
            found = Path(storage.path(name)).stat()
            known.append(f"{name} {found.st_size} {found.st_mtime_ns}")
    return hashlib.sha256("\n".join(known).encode()).hexdigest()
