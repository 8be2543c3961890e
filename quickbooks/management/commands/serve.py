"""What `make run` starts: the product, or without QuickBooks keys the demo."""

import os
import secrets
from argparse import ArgumentParser
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connections

from config.server import HOST, gunicorn_command, port_number, problem_with
from config.static_files import collect_if_changed


class Command(BaseCommand):
    help = (
        "Brings the database up to date and serves on 127.0.0.1; without QuickBooks keys, the demo."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=port_number, default=8000)

    def handle(self, *args: Any, port: int, **options: Any) -> None:
        if not (settings.QUICKBOOKS_CLIENT_ID or settings.QUICKBOOKS_CLIENT_SECRET):
            call_command("demo", port=port)
            return
        if settings.DEMO:
            raise CommandError("DEMO is set beside real QuickBooks keys. Remove it from .env.")
        if problem := problem_with(port):
            raise CommandError(problem)
        try:
            call_command("migrate", interactive=False, verbosity=0)
            self._make_sure_that_somebody_can_sign_in()
        except OperationalError as error:
            told = str(error).strip().splitlines()[0]
            raise CommandError(f"The database of DATABASE_URL does not answer: {told}") from None
        collect_if_changed()
        self._say_where(port)
        connections.close_all()
        os.chdir(settings.BASE_DIR)
        command = gunicorn_command(port)
        os.execv(command[0], command)

    def _make_sure_that_somebody_can_sign_in(self) -> None:
        if User.objects.filter(is_staff=True, is_active=True).exists():
            return
        password = secrets.token_urlsafe(12)
        User.objects.create_superuser("admin", password=password)
        self.stdout.write(
            f"Sign in as admin / {password}\n"
            "This password is shown only now. Another one: .venv/bin/python manage.py "
            "changepassword admin"
        )

    def _say_where(self, port: int) -> None:
        self.stdout.write(f"Open {settings.SITE_URL}/")
        site = urlsplit(settings.SITE_URL)
        if site.hostname == HOST:
            self.stdout.write(
                "Note: Intuit sends nobody back to an address of digits. Before you connect, set "
                f"SITE_URL=http://localhost:{port} in .env for a sandbox, or an https:// address."
            )
        if site.scheme == "http" and site.port != port:
            self.stdout.write(
                f"Note: this server listens on port {port}, but SITE_URL says {settings.SITE_URL}: "
                "links and the way back from Intuit lead there. Change SITE_URL in .env, or the "
                "port."
            )
        self.stdout.flush()
