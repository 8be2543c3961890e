"""What a person does to set Jane up, in order."""

from django.conf import settings

from integrations.base import Step
from integrations.set_up import webhook_url

HOW_TO_MAKE_ONE = 'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'


def steps() -> list[Step]:
    """With the addresses and hours of this installation, never with its secrets."""
    closed = ",".join(settings.CLINIC_CLOSED_DAYS) or "2026-12-25,2026-12-26"
    return [
        Step(
            title="Make a secret",
            text="ClinicSync will prove with it that a delivery is its own. Any long random "
            "text without commas will do; this makes one.",
            code=HOW_TO_MAKE_ONE,
        ),
        Step(
            title="Tell it to this server",
            text="Add this line to the file .env beside manage.py, with the secret in place of "
            "the dots, and restart the server. Without a secret every delivery is refused.",
            code="JANE_WEBHOOK_SECRETS=…",
        ),
        Step(
            title="Tell it to ClinicSync",
            text="Add a webhook there with this address and header. Where only a bearer token "
            "can be entered, enter the secret as that.",
            code=f"POST {webhook_url('jane')}\nx-api-key: …",
        ),
        Step(
            title="Say when the clinic is open",
            text="Silence is only news while the clinic is open: after 90 minutes of opening "
            "time without a delivery the card warns, after 4 hours it turns red. These lines in "
            ".env say when that is.",
            code=f"TIME_ZONE={settings.TIME_ZONE}\n"
            f"CLINIC_HOURS={settings.CLINIC_HOURS}\n"
            f"CLINIC_CLOSED_DAYS={closed}",
        ),
        Step(
            title="Send a test delivery",
            text="The button below sends one the way ClinicSync would. If it arrives and "
            "ClinicSync's own do not, the address or the header there is wrong.",
        ),
        Step(
            title="Recognise people by e-mail, or don't",
            text="With a key here, a keyed hash of each person's address is kept, so that "
            "GoHighLevel's contacts can be matched with Jane's people. The address itself is never "
            "kept. Leave it out, and not even the hash is.",
            code=f"MATCHING_KEY=…\n# made with: {HOW_TO_MAKE_ONE}",
        ),
        Step(
            title="Change the secret one day",
            text="Put the new one in front of the old one, with a comma between, and restart: "
            "both are accepted. Enter the new one in ClinicSync, then take the old one out.",
            code="JANE_WEBHOOK_SECRETS=new,old",
        ),
    ]
