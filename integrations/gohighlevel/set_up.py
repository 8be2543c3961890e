"""Whether GoHighLevel is set up, and how a person does that."""

import re

from django.conf import settings

from integrations.base import Step
from integrations.gohighlevel.models import ID_LENGTH

_LOCATION_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{ID_LENGTH}}}")
# What a header can carry.
_TOKEN = re.compile(r"[!-~]+")


def missing_settings() -> list[str]:
    """The names of what the sync cannot do without."""
    names = ("GOHIGHLEVEL_TOKEN", "GOHIGHLEVEL_LOCATION_ID")
    return [name for name in names if not getattr(settings, name)]


def problem_with_settings() -> str:
    """What is there and cannot be right, in words that repeat nothing of it; empty: nothing."""
    token, location_id = settings.GOHIGHLEVEL_TOKEN, settings.GOHIGHLEVEL_LOCATION_ID
    problems = []
    if token and not _TOKEN.fullmatch(token):
        problems.append(
            "GOHIGHLEVEL_TOKEN is malformed: a token has no spaces and no characters like “…”"
        )
    if location_id and not _LOCATION_ID.fullmatch(location_id):
        problems.append(
            "GOHIGHLEVEL_LOCATION_ID is malformed: it is only the letters and digits behind "
            "/location/ in the address of the sub-account"
        )
    return "; ".join(problems)


def is_set_up() -> bool:
    """Calls can be made: nothing is missing, and what is there can be sent."""
    return not missing_settings() and not problem_with_settings()


def steps() -> list[Step]:
    """The page that tells what to paste where. No secret is on it."""
    url = f"{settings.SITE_URL}/webhooks/gohighlevel/"
    return [
        Step(
            title="Make a token in GoHighLevel",
            text="In the clinic's sub-account open Settings › Private Integrations and create "
            "one with the scopes locations.readonly and contacts.readonly, and no others. "
            "GoHighLevel shows the token once.",
        ),
        Step(
            title="Find the location id",
            text="It is in the address of every page of the sub-account, after /location/, and "
            "under Settings › Business Profile.",
        ),
        Step(
            title="Write both into .env and restart",
            text="The token is read by this server alone and is never shown again.",
            code="GOHIGHLEVEL_TOKEN=pit-…\nGOHIGHLEVEL_LOCATION_ID=…",
        ),
        Step(
            title="Say how persons are recognised",
            text="Best by an id: the id of the custom field of a contact that holds the Jane "
            "person's id. Otherwise, or besides, by e-mail: a random key under which addresses "
            "are compared without being kept. Without either no contact can be mapped.",
            code="GOHIGHLEVEL_PERSON_FIELD=…\nMATCHING_KEY=…",
        ),
        Step(
            title="Run the first sync",
            text="It prints what it found. The schedule does the same every hour.",
            code=".venv/bin/python manage.py sync_gohighlevel\n"
            ".venv/bin/python manage.py crontab add -v0",
        ),
        Step(
            title="Let a workflow tell of changes at once (optional)",
            text="Write a secret into .env. In GoHighLevel add a workflow with the triggers "
            "Contact Created and Contact Changed and the action Webhook, method POST, with the "
            "header x-api-key and the same secret.",
            code=f"GOHIGHLEVEL_WEBHOOK_SECRETS=…\n{url}\nx-api-key: …",
        ),
        Step(
            title="Or let an app of yours do that (optional)",
            text="In the developer portal set the app's webhook URL and switch on "
            "ContactCreate, ContactUpdate, ContactTagUpdate and ContactDelete. Its deliveries "
            "are signed; compare the public key in the app with GOHIGHLEVEL_WEBHOOK_PUBLIC_KEYS.",
            code=url,
        ),
    ]
