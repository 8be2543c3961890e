#!/usr/bin/env python
"""Run a management command. Exit code 3 (UNKNOWN to Nagios) when the settings are unusable."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        print(f"Settings: {error}", file=sys.stderr)
        sys.exit(3)


if __name__ == "__main__":
    main()
