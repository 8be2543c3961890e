"""What cron calls through django-crontab."""

from django.core.management import call_command


def check_quickbooks() -> None:
    """Every 15 minutes. Its exit code is for monitoring plugins; what it prints, cron mails."""
    try:
        call_command("check_quickbooks", confirm=True, quiet=True)
    except SystemExit:
        pass  # django-crontab would log a traceback for every result that is not OK
