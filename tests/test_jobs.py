"""What cron starts: every job of the settings runs, whatever it exits with."""

import pytest
from django.conf import settings
from django.utils.module_loading import import_string

# What is optional and not set up is no news; QuickBooks is what the product is for.
SAID = {"check_quickbooks": "QUICKBOOKS UNKNOWN - QuickBooks isn't connected"}


@pytest.mark.django_db
@pytest.mark.parametrize("job", settings.CRONJOBS, ids=lambda job: str(job[2][0]))
def test_a_job_runs_as_cron_calls_it(
    job: tuple[str, str, list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    _, function, arguments = job
    import_string(function)(*arguments)
    said = capfd.readouterr().out
    expected = SAID.get(arguments[0], "")
    assert said.startswith(expected)
    assert bool(said) == bool(expected)
