"""500 alerts in `make bench`; here the same with fewer, on every run."""

import pytest

from tests import processes
from tests.mail import mail_server
from tests.siege import besiege

ALERTS = 60


@pytest.mark.django_db(transaction=True)
def test_no_alert_is_lost_whoever_is_killed_and_whatever_the_mail_server_does() -> None:
    with mail_server() as server, processes.driver() as driver:
        found = besiege(driver, server, ALERTS, seed=2026)
    print(found)
    assert found.kills >= 1
    assert found.lost == 0
    assert found.unexcused == 0
    assert found.disordered == 0
    assert found.repeated <= found.unacknowledged + found.in_doubt
