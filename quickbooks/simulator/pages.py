"""The two pages for people: Intuit's consent, and the control page that breaks things."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template
from urllib.parse import urlencode

from integrations.demo import DemoPart
from quickbooks.simulator import scenarios
from quickbooks.simulator.endpoints import AUTHORIZE
from quickbooks.simulator.grants import Company
from quickbooks.simulator.request import Request, host_of, is_loopback
from quickbooks.simulator.wire import HTML, Reply
from quickbooks.simulator.world import World

CONTROL = "/control"
SCOPE = "com.intuit.quickbooks.accounting"
PARAMETERS = ("client_id", "redirect_uri", "response_type", "scope", "state")
PAGE = Template((Path(__file__).parent / "templates" / "page.html").read_text(encoding="utf-8"))
# No form-action: it would block the redirect to the product with which consent is answered.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"


def respond(
    world: World,
    request: Request,
    home_url: str | None,
    changed: Callable[[], None],
    others: Mapping[str, DemoPart],
) -> Reply:
    """Any request that is no machine's."""
    pages: dict[tuple[str, str], Callable[[], Reply]] = {
        ("GET", AUTHORIZE): lambda: _authorize(world, request.query),
        ("POST", AUTHORIZE): lambda: _decided(world, request.form),
        ("GET", CONTROL): lambda: _control(world, home_url, others),
        ("POST", CONTROL): lambda: _controlled(world, request.form, changed, others),
    }
    page = pages.get((request.method, request.path))
    return page() if page else _error("There is no such page.", 404)


def _page(title: str, main: str, status: int = 200) -> Reply:
    text = PAGE.substitute(title=escape(title), main=main)
    headers = {"Cache-Control": "no-store", "Content-Security-Policy": POLICY}
    return Reply(status, text.encode(), HTML, headers, tid=False)


def _error(sentence: str, status: int = 400) -> Reply:
    title = "This does not work"
    return _page(title, f'<h1>{title}</h1><p class="state broken">{escape(sentence)}</p>', status)


def _see_other(url: str) -> Reply:
    return Reply(
        303, content_type=HTML, headers={"Location": url, "Cache-Control": "no-store"}, tid=False
    )


# ── consent ─────────────────────────────────────────────────────────────────
def _wrong(world: World, asked: dict[str, str]) -> str:
    """Why this consent cannot be asked for; empty if it can."""
    if asked.get("client_id") != world.client_id:
        return "The client_id is not that of the demo's app."
    redirect_uri = asked.get("redirect_uri", "")
    if not (
        redirect_uri.isascii() and redirect_uri.isprintable() and is_loopback(host_of(redirect_uri))
    ):
        return "The redirect_uri must lead to this machine (127.0.0.1 or localhost)."
    if asked.get("response_type") != "code":
        return "The response_type must be code."
    if SCOPE not in asked.get("scope", "").split():
        return f"The scope must contain {SCOPE}."
    return "" if asked.get("state") else "The state is missing."


def _authorize(world: World, asked: dict[str, str]) -> Reply:
    if wrong := _wrong(world, asked):
        return _error(wrong)
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(asked[name])}">' for name in PARAMETERS
    )
    choices = "".join(
        '<label class="choice"><input type="radio" name="realm" required'
        f' value="{escape(company.realm_id)}"{"" if number else " checked"}>'
        f"<span><strong>{escape(company.name)}</strong>"
        f"<small>Company {escape(company.realm_id)}</small></span></label>"
        for number, company in enumerate(world.companies.values())
    )
    title = "Connect a company"
    return _page(
        title,
        f"<h1>{title}</h1>"
        "<p>An app asks to read your books. Choose the company that it may see.</p>"
        f'<form method="post" action="{AUTHORIZE}">{hidden}'
        f'<fieldset class="card"><legend>Company</legend>{choices}</fieldset>'
        '<div class="row"><button class="main" name="decision" value="connect">Connect</button>'
        '<button name="decision" value="cancel" formnovalidate>Cancel</button></div></form>',
    )


def _decided(world: World, form: dict[str, str]) -> Reply:
    if wrong := _wrong(world, form):
        return _error(wrong)
    redirect_uri, answer = form["redirect_uri"], {"state": form["state"]}
    if form.get("decision") == "connect":
        realm = form.get("realm", "")
        if realm not in world.companies:
            return _error("Choose one of the companies.")
        answer = {"code": world.new_code(realm, redirect_uri)} | answer | {"realmId": realm}
    else:
        answer = {"error": "access_denied"} | answer
    return _see_other(f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{urlencode(answer)}")


# ── control ─────────────────────────────────────────────────────────────────
def _control(world: World, home_url: str | None, others: Mapping[str, DemoPart]) -> Reply:
    title = "What QuickBooks does"
    home = (
        f'<a class="home" href="{escape(home_url)}">Back to the dashboard</a>' if home_url else ""
    )
    companies = "".join(_company_card(world, company) for company in world.companies.values())
    buttons = scenarios.SCENARIOS | {"lost": scenarios.LOST}
    rows = "".join(_scenario_row(name, scenario) for name, scenario in buttons.items())
    works = _scenario_row("works", scenarios.WORKS)
    state = scenarios.state(world)
    look = "state" if state == scenarios.WORKS.state else "state broken"
    return _page(
        title,
        f"{home}<h1>{title}</h1>"
        "<p>Break something here, then look at the dashboard."
        " It says what is wrong and what to do.</p>"
        f'<p class="{look}" role="status"><strong>Now:</strong> {escape(state)}</p>'
        f'<form method="post" action="{CONTROL}">{works}</form>'
        f"<h2>One company</h2>{companies}"
        f'<h2>All of Intuit</h2><form method="post" action="{CONTROL}" class="card">{rows}</form>'
        f"{''.join(_other(slug, part) for slug, part in others.items())}",
    )


def _other(slug: str, part: DemoPart) -> str:
    """Another vendor's state and buttons."""
    rows = "".join(
        _row(f"{slug}:{name}", button.label, button.hint) for name, button in part.buttons().items()
    )
    state = part.state()
    look = "state broken" if state else "state"
    return (
        f'<h2 id="{slug}">{escape(part.title)}</h2>'
        f'<p class="{look}"><strong>Now:</strong> {escape(state or "Nothing is broken.")}</p>'
        f'<form method="post" action="{CONTROL}" class="card">{rows}</form>'
    )


def _company_card(world: World, company: Company) -> str:
    buttons = "".join(
        f'<button name="action" value="{name}">{escape(label)}</button>'
        for name, (label, _) in scenarios.COMPANY_ACTIONS.items()
    )
    realm = escape(company.realm_id)
    return (
        f'<form method="post" action="{CONTROL}" class="card" aria-labelledby="company-{realm}">'
        f'<h3 id="company-{realm}">{escape(company.name)}</h3>'
        f"<p>{escape(_connection(world, company))}<small>Company {realm}</small></p>"
        f'<input type="hidden" name="realm" value="{realm}">'
        f'<div class="row">{buttons}</div></form>'
    )


def _connection(world: World, company: Company) -> str:
    subscription = f"Subscription: {company.subscription_status}."
    if not world.live_refresh_token(company.realm_id):
        return f"Not connected. {subscription}"
    expires_at = world.access_expires_at(company.realm_id)
    if expires_at is None:
        return f"Connected. The access token has expired: the next check renews it. {subscription}"
    at = datetime.fromtimestamp(expires_at, UTC).strftime("%H:%M UTC")
    minutes = max(1, round((expires_at - world.now()) / 60))
    return f"Connected. The access token expires in {minutes} min, at {at}. {subscription}"


def _scenario_row(name: str, scenario: scenarios.Scenario) -> str:
    return _row(name, scenario.label, scenario.hint)


def _row(name: str, label: str, hint: str) -> str:
    return (
        f'<div class="scenario"><button name="action" value="{name}" aria-describedby="{name}-hint"'
        f"{' class=main' if name == 'works' else ''}>{escape(label)}</button>"
        f'<span id="{name}-hint">{escape(hint)}</span></div>'
    )


def _controlled(
    world: World,
    form: dict[str, str],
    changed: Callable[[], None],
    others: Mapping[str, DemoPart],
) -> Reply:
    action, realm = form.get("action", ""), form.get("realm", "")
    slug, _, name = action.partition(":")
    if slug in others and name in (buttons := others[slug].buttons()):
        buttons[name].press()
        return _see_other(f"{CONTROL}#{slug}")
    if action in scenarios.COMPANY_ACTIONS and realm in world.companies:
        scenarios.COMPANY_ACTIONS[action][1](world, realm)
    elif action in scenarios.SCENARIOS:
        scenarios.break_all(world, action)
    elif action == "lost":
        scenarios.lose_next_renewal(world)
    elif action == "works":
        world.clear_faults()
    else:
        return _error("There is no such button.")
    changed()
    return _see_other(CONTROL)
