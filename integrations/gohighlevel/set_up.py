"""Whether GoHighLevel is set up, and how a person does that."""

from django.conf import settings

from integrations.base import Step


def missing_settings() -> list[str]:
    """The names of what the sync cannot do without."""
    names = ("GOHIGHLEVEL_TOKEN", "GOHIGHLEVEL_LOCATION_ID")
    return [name for name in names if not getattr(settings, name)]


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
