"""Where people are sent: the fix page, Intuit, or their IT person with everything it needs."""

from urllib.parse import quote, urlencode

from django.conf import settings
from django.utils import timezone

from integrations.addresses import address
from integrations.base import Action
from quickbooks.diagnosis import Code
from quickbooks.judgement import Judgement

MANAGE = "quickbooks.manage_connection"


def page(name: str, realm_id: str = "") -> str:
    """The path of one of our pages, for a company."""
    query = f"?{urlencode({'realm': realm_id})}" if realm_id else ""
    return address(f"quickbooks:{name}") + query


def fix_url(realm_id: str) -> str:
    """The absolute address of the fix page, for mails."""
    return settings.SITE_URL + page("fix", realm_id)


def action(judgement: Judgement) -> Action | None:
    """The one button of a card."""
    realm_id = judgement.row.realm_id if judgement.row else ""
    label = judgement.button
    match label:
        case "Fix Connection" | "Connect QuickBooks":
            url = page("connect", realm_id)
            return Action(label=label, url=url, permission=MANAGE)
        case "See set-up steps":
            return Action(label=label, url=page("fix", realm_id))
        case "Take over":
            return Action(label=label, url=page("fix", realm_id), permission=MANAGE)
        case "Open QuickBooks":
            sandbox = settings.QUICKBOOKS_ENVIRONMENT == "sandbox"
            host = "sandbox.qbo.intuit.com" if sandbox else "qbo.intuit.com"
            return Action(label=label, url=f"https://{host}/")
        case "Send to IT":
            return Action(label=label, url=_mail_to_it(judgement))
        case "Check now":
            return check_now(realm_id)
    return None


def check_now(realm_id: str) -> Action:
    return Action(label="Check now", url=page("check", realm_id), post=True)


def others(judgement: Judgement) -> list[Action]:
    """The quieter links beside the button."""
    if judgement.row is None:
        return []
    found = []
    if judgement.button == "Fix Connection":
        found.append(Action(label="Send link", url=_mail_with_link(judgement)))
    if judgement.button != "Check now" and judgement.code is not Code.DISCONNECTED_HERE:
        found.append(check_now(judgement.row.realm_id))
    return found


def _mail_with_link(judgement: Judgement) -> str:
    assert judgement.row is not None
    return _mailto(
        f"{judgement.row}: {judgement.title}",
        f"{judgement.title}.\n{judgement.impact}\n\n"
        "A QuickBooks administrator can fix it in about two minutes:\n"
        f"{fix_url(judgement.row.realm_id)}\n",
    )


def mail_hand_over(company: str, url: str) -> str:
    """A mail to the administrator who gets a hand-over link."""
    return _mailto(
        f"Please reconnect QuickBooks for {company}",
        f"Could you please reconnect QuickBooks for {company}? It takes about two minutes, and "
        "you need to be an administrator of that company in QuickBooks. Nothing in the books is "
        f"changed.\n\n{url}\n\nThe link works once, and for this company only.\n",
    )


def _mail_to_it(judgement: Judgement) -> str:
    row, check = judgement.row, judgement.check
    lines = [f"{judgement.title}.", judgement.impact, judgement.next_step, ""]
    lines.append(f"Diagnosis: {judgement.code}")
    if row:
        lines.append(f"Company: {row} ({row.realm_id})")
    if check:
        lines.append(f"Time: {timezone.localtime(check.checked_at):%Y-%m-%d %H:%M:%S %Z}")
        lines.append(f"HTTP status: {check.http_status or 'no answer'}")
        if check.message:
            lines.append(f"Message: {check.message}")
        if check.intuit_tid:
            lines.append(f"intuit_tid: {check.intuit_tid}")
    if row:
        lines.append(fix_url(row.realm_id))
    return _mailto(f"QuickBooks: {judgement.title}", "\n".join(lines))


def _mailto(subject: str, body: str) -> str:
    return f"mailto:?subject={quote(subject)}&body={quote(body)}"
