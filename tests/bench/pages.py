"""The pages, in this process, on databases with a short and a long past.

python -m tests.bench.pages, with the environment that `tests.bench.__main__` prepares:
DATABASE_URL names an empty database beside which others may be made. Prints JSON rows.
"""

import tests.bench.production  # isort: skip  # noqa: F401  # before any model

import datetime as dt
import io
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import Client, override_settings
from django.utils import timezone

from quickbooks.diagnosis import Code
from tests.bench import seed
from tests.bench.measure import Row, side_by_side

DASHBOARD, BARE = "/dashboard/", "/bench/bare/"
CHECK_LIST = "/admin/quickbooks/connectionhealthcheck/"
COMPANIES, FEW, MANY = 10, 10_000, 1_000_000
DAY = 96
# One that a person with a permission may mend, and one that asks for the month's allowance.
TROUBLES = (Code.ACCESS_DENIED, Code.THROTTLED)


class Site:
    """The product on one database, with somebody signed in who was here yesterday.

    A WSGI call and not `django.test.Client`, which would keep connections open that the product
    closes.
    """

    def __init__(self, database: BaseDatabaseWrapper) -> None:
        self._database = database
        self._handler = WSGIHandler()
        self._cookies = ""
        self.authorization = ""

    def sign_in(self) -> None:
        with self.current():
            client = Client()
            client.force_login(seed.person())
            session = client.cookies[settings.SESSION_COOKIE_NAME].value
        yesterday = timezone.now() - dt.timedelta(hours=20)
        self._cookies = (
            f'{settings.SESSION_COOKIE_NAME}={session}; last_visit="{yesterday.isoformat()}"'
        )

    @contextmanager
    def current(self) -> Iterator[None]:
        """Let the default database be this site's."""
        before = connections["default"]
        connections["default"] = self._database
        try:
            yield
        finally:
            connections["default"] = before

    def get(self, path: str) -> bytes:
        path, _, query = path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "8000",
            "HTTP_HOST": "127.0.0.1:8000",
            "HTTP_COOKIE": self._cookies,
            "HTTP_AUTHORIZATION": self.authorization,
            "wsgi.input": io.BytesIO(),
            "wsgi.url_scheme": "http",
        }
        with self.current():
            response = self._handler(environ, _start_response)
            body = b"".join(response)
            response.close()  # tells the product that the request is over
        assert response.status_code == 200, f"{path}: {response.status_code}"
        return body

    def queries(self, path: str) -> list[str]:
        """The statements of one request."""
        seen: list[str] = []

        def note(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
            seen.append(sql)
            return execute(sql, *rest)

        with self._database.execute_wrapper(note):
            self.get(path)
        return seen


def _start_response(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
    """The server's side; nobody is interested."""


def beside(name: str) -> BaseDatabaseWrapper:
    """A copy of the default database, under this name."""
    found = connection.copy()
    if connection.vendor == "postgresql":
        found.settings_dict["NAME"] = name
        statement = f"CREATE DATABASE {name} TEMPLATE {connection.settings_dict['NAME']}"
    else:
        file = Path(connection.settings_dict["NAME"]).with_name(f"{name}.sqlite3")
        found.settings_dict["NAME"] = str(file)
        statement = f"VACUUM INTO '{file}'"
    with connection.cursor() as cursor:
        cursor.execute(statement)
    return found


def seeded(name: str, companies: int, rows: int) -> Site:
    """A site with that many checks behind it."""
    found = Site(beside(name))
    found.sign_in()
    began = time.monotonic()
    with found.current():
        seed.fill(companies, rows)
    print(f"{rows:,} checks seeded in {time.monotonic() - began:.1f} s", file=sys.stderr)
    return found


def measured() -> Iterator[Row]:
    one = seeded("one", 1, DAY)
    few, many = seeded("few", COMPANIES, FEW), seeded("many", COMPANIES, MANY)
    against_bare = side_by_side(partial(one.get, DASHBOARD), partial(one.get, BARE))
    yield against_bare.row("dashboard / bare view", 2.5)
    yield from with_the_others(one)
    for what, path in (
        ("dashboard", DASHBOARD),
        ("check list", CHECK_LIST),
        ("check list, all time", f"{CHECK_LIST}?span=all"),
    ):
        growth = side_by_side(partial(many.get, path), partial(few.get, path))
        yield growth.row(f"{what}, {MANY:,} / {FEW:,} checks", 1.5)
    counts = [len(each.queries(DASHBOARD)) for each in (one, few, many)]
    yield Row(what="queries of the dashboard", figure=max(counts), detail=_list(counts), most=12)
    yield Row(what="more of them with a long past", figure=counts[2] - counts[1], most=0)
    counts = [len(queries_when_all_have(few, trouble)) for trouble in TROUBLES]
    yield Row(what="queries when all are broken", figure=max(counts), detail=_list(counts), most=12)


def with_the_others(site: Site) -> Iterator[Row]:
    """The same page with all three integrations on it."""
    with site.current():
        seed.add_the_others(timezone.now())
    with override_settings(
        JANE_WEBHOOK_SECRETS=["secret"],
        GOHIGHLEVEL_TOKEN="token",
        GOHIGHLEVEL_LOCATION_ID=seed.LOCATION,
    ):
        found = side_by_side(partial(site.get, DASHBOARD), partial(site.get, BARE))
        yield found.row("dashboard of all three / bare view", None)
        count = len(site.queries(DASHBOARD))
        # Two more than before there were incidents: how each account stands, and whether alerts
        # get out.
        yield Row(what="queries of the dashboard of all three", figure=count, most=14)


def queries_when_all_have(site: Site, trouble: Code) -> list[str]:
    with site.current():
        seed.befall(trouble)
    return site.queries(DASHBOARD)


def _list(counts: list[int]) -> str:
    return ", ".join(map(str, counts))


def main() -> None:
    with (
        tempfile.TemporaryDirectory() as static,
        override_settings(ROOT_URLCONF="tests.bench.urls", STATIC_ROOT=static),
    ):
        call_command("collectstatic", interactive=False, verbosity=0)
        call_command("migrate", interactive=False, verbosity=0)
        for row in measured():
            row.tell()


if __name__ == "__main__":
    main()
