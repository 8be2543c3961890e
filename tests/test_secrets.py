"""Secrets: sealed where they are stored, and nowhere else at all."""

import logging
import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.core import serializers
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.forms.models import model_to_dict
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from integrations.crypto import EncryptionError, Sealed, Secret, seal, unseal
from quickbooks.models import OAuthToken, TokenRefresh
from quickbooks.simulator.server import Simulator
from quickbooks.simulator.tokens import TokenAnswer
from quickbooks.simulator.world import World
from tests.conftest import HARBOUR, NORTHSIDE
from tests.support import check, connect, decide, run, set_out, stored

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("simulator")]

PIECE = 12
APP_SECRET = "Zm9yIHRoZSB0ZXN0cyBvbmx5LCBvZiBjb3Vyc2U"


def new_key() -> str:
    return Fernet.generate_key().decode()


# ── at rest ───────────────────────────────────────────────────────────────────────────────────
def test_what_is_stored_is_ciphertext(world: World) -> None:
    row = connect(world)
    with connection.cursor() as cursor:
        cursor.execute("SELECT access_token, refresh_token FROM quickbooks_oauthtoken")
        [columns] = cursor.fetchall()
    assert all(column.startswith("gAAAA") for column in columns)
    assert row.refresh_token == world.live_refresh_token(HARBOUR)
    for kept in (*columns, repr(vars(row)), repr(row), str(row), repr(model_to_dict(row))):
        assert row.refresh_token not in kept
    for kept in (serializers.serialize("json", [row]), str(pickle.dumps(row))):
        assert row.refresh_token not in kept
        assert row.access_token not in kept


def test_the_same_value_is_never_sealed_alike() -> None:
    assert seal("value", "row") != seal("value", "row")
    assert unseal(seal("value", "row"), "row") == "value"


@pytest.mark.parametrize("keys", [[new_key()], []])
def test_a_wrong_key_raises_and_never_returns_ciphertext(
    world: World, settings: Settings, keys: list[str]
) -> None:
    row = connect(world)
    settings.TOKEN_ENCRYPTION_KEYS = keys
    for name in ("access_token", "refresh_token"):
        with pytest.raises(EncryptionError) as caught:
            getattr(row, name)
        assert vars(row)[name] not in str(caught.value)


def test_ciphertext_opens_in_its_own_row_and_column_only(world: World) -> None:
    first, second = connect(world), connect(world, NORTHSIDE)
    moved = Sealed(vars(first)["refresh_token"])
    OAuthToken.objects.filter(pk=second.pk).update(refresh_token=moved)
    with pytest.raises(EncryptionError, match="moved here from another row"):
        _ = stored(NORTHSIDE).refresh_token
    OAuthToken.objects.filter(pk=first.pk).update(access_token=moved)
    with pytest.raises(EncryptionError, match="moved here from another row"):
        _ = stored().access_token
    TokenRefresh.objects.filter(realm_id=HARBOUR).update(late_pair=moved)
    with pytest.raises(EncryptionError, match="moved here from another row"):
        _ = TokenRefresh.objects.get(realm_id=HARBOUR).late_pair
    assert stored().refresh_token == first.refresh_token


@pytest.mark.parametrize("value", ["plain text", "gAAAAAB", "", "é", "gAAAAAB" + "A" * 200])
def test_what_is_no_ciphertext_is_never_handed_out(world: World, value: str) -> None:
    connect(world)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE quickbooks_oauthtoken SET refresh_token = %s", [value])
    if value:
        with pytest.raises(EncryptionError):
            _ = stored().refresh_token
    else:
        assert stored().refresh_token == ""


def test_plain_text_cannot_be_stored(world: World) -> None:
    row = connect(world)
    rows = OAuthToken.objects.filter(pk=row.pk)
    plain = OAuthToken(realm_id="1", access_token="plain text")
    refusals: list[Callable[[], object]] = [
        lambda: OAuthToken.objects.create(realm_id="1", refresh_token="plain text"),
        lambda: OAuthToken.objects.bulk_create([plain]),
        lambda: rows.update(refresh_token="plain text"),
        lambda: rows.update(refresh_token=Secret("plain text")),
        lambda: rows.filter(refresh_token="plain text").exists(),
    ]
    for refusal in refusals:
        with pytest.raises(TypeError, match="takes sealed values only"), transaction.atomic():
            refusal()
    row.refresh_token = "plain text"
    refusals = [
        lambda: row.save(),
        lambda: OAuthToken.objects.bulk_update([row], ["refresh_token"]),
    ]
    for refusal in refusals:
        with pytest.raises((TypeError, EncryptionError)), transaction.atomic():
            refusal()
    assert stored().refresh_token == world.live_refresh_token(HARBOUR)


def test_a_secret_does_not_show_itself() -> None:
    secret = Secret("the-token-itself")
    told = [repr(secret), repr([secret]), repr({"a": secret}), f"{secret!r}", str([[secret]])]
    assert not any("the-token" in text for text in told)


# ── rotation of the keys ──────────────────────────────────────────────────────────────────────
def test_keys_are_rotated_and_the_old_one_can_be_dropped(world: World, settings: Settings) -> None:
    rows = [connect(world), connect(world, NORTHSIDE)]
    tokens = [(row.access_token, row.refresh_token) for row in rows]
    pair = TokenRefresh.seal_late_pair(HARBOUR, "access\nrefresh")
    TokenRefresh.objects.filter(realm_id=HARBOUR).update(late_pair=pair)
    old, new = settings.TOKEN_ENCRYPTION_KEYS, [new_key()]
    settings.TOKEN_ENCRYPTION_KEYS = new + old
    assert run("rotate_token_keys") == (0, "2 companies are encrypted with the first key.\n")
    settings.TOKEN_ENCRYPTION_KEYS = new
    kept = [stored(), stored(NORTHSIDE)]
    assert [(row.access_token, row.refresh_token) for row in kept] == tokens
    assert TokenRefresh.objects.get(realm_id=HARBOUR).late_pair == "access\nrefresh"
    assert [row.generation for row in kept] == [1, 1]
    assert check().ok
    settings.TOKEN_ENCRYPTION_KEYS = old
    with pytest.raises(EncryptionError):
        _ = stored().access_token


def test_a_company_that_no_key_opens_is_named_and_holds_up_no_other(
    world: World, settings: Settings
) -> None:
    connect(world)
    OAuthToken.objects.update(
        refresh_token=Sealed(Fernet(new_key()).encrypt(b"of a lost key").decode())
    )
    connect(world, NORTHSIDE)
    before = vars(stored())["refresh_token"]
    settings.TOKEN_ENCRYPTION_KEYS = [new_key(), *settings.TOKEN_ENCRYPTION_KEYS]
    with pytest.raises(CommandError, match=f"not all was rotated: .* of {HARBOUR}"):
        call_command("rotate_token_keys")
    settings.TOKEN_ENCRYPTION_KEYS = settings.TOKEN_ENCRYPTION_KEYS[:1]
    assert stored(NORTHSIDE).refresh_token == world.live_refresh_token(NORTHSIDE)
    assert vars(stored())["refresh_token"] == before


def test_a_renewal_during_the_rotation_is_not_undone(world: World, settings: Settings) -> None:
    connect(world)
    settings.TOKEN_ENCRYPTION_KEYS = [new_key(), *settings.TOKEN_ENCRYPTION_KEYS]
    renewed = OAuthToken.seal("refresh_token", HARBOUR, "a newer one")

    done: list[str] = []

    def renew_first(execute: Any, sql: str, *rest: Any) -> Any:
        if not done and sql.startswith("UPDATE") and '"access_token"' in sql:
            done.append(sql)
            OAuthToken.objects.update(generation=2, refresh_token=renewed)
        return execute(sql, *rest)

    with connection.execute_wrapper(renew_first):
        run("rotate_token_keys")
    assert done
    assert stored().refresh_token == "a newer one"


# ── and nowhere else ──────────────────────────────────────────────────────────────────────────
class Noting(World):
    """Keeps a list of everything secret that it ever handed out."""

    def __init__(self) -> None:
        super().__init__(client_secret=APP_SECRET, rotate_after=0)
        self.secrets: set[str] = {APP_SECRET}

    def exchange(self, code: str, redirect_uri: str) -> TokenAnswer:
        return self._note(super().exchange(code, redirect_uri))

    def refresh(self, refresh_token: str) -> TokenAnswer:
        return self._note(super().refresh(refresh_token))

    def new_code(self, realm_id: str, redirect_uri: str) -> str:
        code = super().new_code(realm_id, redirect_uri)
        self.secrets.add(code)
        return code

    def _note(self, answer: TokenAnswer) -> TokenAnswer:
        self.secrets |= {answer.access_token, answer.refresh_token}
        return answer


class Recording(Client):
    """A browser that keeps everything that it was ever sent."""

    kept: list[str]

    def request(self, **request: Any) -> Any:
        response = super().request(**request)
        body = b"".join(response) if response.streaming else response.content
        self.kept.append(f"{response.headers}\n{body.decode(errors='replace')}")
        return response


@pytest.fixture
def world() -> Noting:
    world = Noting()
    world.add_company(HARBOUR, "Harbour Physio")
    world.add_company(NORTHSIDE, "Northside Physio")
    return world


@pytest.fixture(autouse=True)
def app_secret(settings: Settings) -> None:
    settings.QUICKBOOKS_CLIENT_SECRET = APP_SECRET
    settings.QUICKBOOKS_DEADLINE_SECONDS = 5


@pytest.fixture
def window(db: None) -> Recording:
    window = Recording(raise_request_exception=False)
    window.kept = []
    window.force_login(User.objects.create_superuser("chief"))
    return window


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Every logger at its most talkative."""
    names = [None, *logging.root.manager.loggerDict]
    for name in names:
        caplog.set_level(logging.DEBUG, logger=name)
    yield caplog


def pieces_in(texts: Iterable[str], secrets: Iterable[str]) -> set[str]:
    """Every piece of a secret, of twelve characters, that occurs in one of the texts."""
    pieces = {
        secret[at : at + PIECE] for secret in secrets for at in range(len(secret) - PIECE + 1)
    }
    return {
        text[at : at + PIECE]
        for text in texts
        for at in range(len(text) - PIECE + 1)
        if text[at : at + PIECE] in pieces
    }


def every_row() -> list[str]:
    """All that is stored, in any table; sessions opened."""
    rows = [str(session.get_decoded()) for session in Session.objects.all()]
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')  # noqa: S608
            rows += [str(row) for row in cursor.fetchall()]
    return rows


PAGES = [
    "/dashboard/",
    f"/dashboard/cards/quickbooks/{HARBOUR}/",
    "/dashboard/history/",
    f"/quickbooks/fix/?realm={HARBOUR}",
    "/api/admin/quickbooks/connection-status?fresh=1",
    "/api/admin/integrations",
    "/admin/",
    "/admin/quickbooks/oauthtoken/",
    "/admin/quickbooks/connectionhealthcheck/",
    "/admin/quickbooks/tokenrefresh/",
    "/admin/integrations/integrationstatus/",
]
FAILURES_OF_THE_TOKEN_ENDPOINT = [
    "invalid_client",
    "status_503",
    "bare_400",
    "html",
    "reset",
    "truncated",
    "no_status_line",
    "redirect",
]
FAILURES_OF_THE_API = ["token_expired", "no_access", "html_401", "reset_mid_body", "huge_header"]


@pytest.mark.parametrize("debug", [True, False])
def test_no_secret_and_no_piece_of_one_is_shown_logged_or_stored(
    world: Noting,
    simulator: Simulator,
    window: Recording,
    logged: pytest.LogCaptureFixture,
    settings: Settings,
    tmp_path: Path,
    debug: bool,
) -> None:
    settings.DEBUG, settings.VAR_DIR = debug, tmp_path
    rescued: list[str] = []

    def renew(fault: str | None = None) -> None:
        # Nobody else is at work: what an earlier failure left behind is over.
        OAuthToken.objects.update(lease_until=None, access_expires_at=timezone.now())
        if fault:
            world.fail_next("token", fault)
        window.post("/quickbooks/check/", {"realm": HARBOUR})

    # Connect, with a double click and with answers that fail.
    for fault in (None, "invalid_grant", "lost_answer", "hostile_keys"):
        if fault:
            world.fail_next("token", fault)
        OAuthToken.objects.update(lease_until=None)
        back = decide(set_out(window))
        window.get(back)
        window.get(back)
        Client().get(back)
    assert stored().state == "live"
    # Read, renew, fail.
    for url in PAGES:
        assert window.get(url).status_code == 200, url
    company = stored()
    window.get(f"/admin/quickbooks/oauthtoken/{company.pk}/change/")
    for fault in FAILURES_OF_THE_API:
        world.fail_next("api", fault)
        window.get("/api/admin/quickbooks/connection-status?fresh=1")
    world.expire_access_tokens()
    window.get("/api/admin/quickbooks/connection-status?fresh=1")
    for fault in FAILURES_OF_THE_TOKEN_ENDPOINT:
        renew(fault)
    renew()
    assert stored().state == "live"
    # A bug in the middle, with tokens in every frame: in the callback, and in a renewal.
    for act in (renew, lambda: window.get(decide(set_out(window)))):
        OAuthToken.objects.update(lease_until=None)
        with connection.execute_wrapper(_break_the_commit):
            act()
        rescued += [path.read_text() for path in tmp_path.rglob("*.sealed")]
        assert "Error" in window.kept[-1] or "went wrong" in window.kept[-1]
    # Disconnect, twice, and a dead grant.
    OAuthToken.objects.update(lease_until=None)
    window.get(decide(set_out(window)))
    for fault in ("unavailable", "reset"):
        world.fail_next("revoke", fault)
        OAuthToken.objects.update(lease_until=None)
        window.post("/quickbooks/disconnect/", {"realm": HARBOUR, "confirm": "yes"})
    OAuthToken.objects.update(lease_until=None)
    window.post("/quickbooks/disconnect/", {"realm": HARBOUR, "confirm": "yes"})
    window.get(decide(set_out(window)))
    world.revoke_grant(HARBOUR)
    window.get("/api/admin/quickbooks/connection-status?fresh=1")
    for url in PAGES:
        window.get(url)

    sent = "".join(window.kept)
    assert "reconnect_required" in sent
    assert len(world.secrets) > 10
    assert "urllib3" in logged.text
    texts = [*window.kept, logged.text, *every_row(), *map(repr, TokenRefresh.objects.all())]
    # What could not be committed waits in files, sealed as well.
    assert len(rescued) == 2
    found = pieces_in(texts + rescued, world.secrets)
    assert not found


def _break_the_commit(execute: Any, sql: str, *rest: Any) -> Any:
    if sql.startswith("UPDATE") and '"refresh_token"' in sql:
        raise RuntimeError("a bug of ours")
    return execute(sql, *rest)


def test_the_search_for_pieces_would_find_one(world: Noting) -> None:
    row = connect(world)
    secret = str(row.access_token)
    assert pieces_in([f"…{secret[300:312]}…"], world.secrets)
    assert pieces_in([f"code={next(iter(world.secrets))}"], world.secrets)
    assert not pieces_in([secret[300:311]], world.secrets)


def test_settings_that_are_shown_in_debug_are_not_secret_ones(
    window: Recording, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django's debug page lists the settings; ours shows a bare traceback."""
    settings.DEBUG = True

    def broken(*args: object) -> None:
        raise RuntimeError(f"a bug that quotes {APP_SECRET}")

    monkeypatch.setattr("quickbooks.consent.oauth.discover", broken)
    response = window.get("/quickbooks/connect/")
    assert response.status_code == 500
    assert b"RuntimeError at /quickbooks/connect/" in response.content
    for secret in (APP_SECRET, django_settings.SECRET_KEY, *django_settings.TOKEN_ENCRYPTION_KEYS):
        assert not pieces_in(window.kept, [secret])
