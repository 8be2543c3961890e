"""What cron calls through django-crontab."""

from django.core.management import call_command


def command(name: str, *options: str) -> None:
    """A management command. Its exit code is for monitoring plugins; what it prints, cron mails."""
    try:
        call_command(name, *options)
    except SystemExit:
        pass  # django-crontab would log a traceback for every result that is not OK
