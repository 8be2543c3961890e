"""5,000 deliveries and a crash in `make bench`; here the same with fewer, on every run."""

import pytest

from integrations.jane.models import Membership, MembershipChange
from integrations.models import Outcome, WebhookDelivery, WebhookRefusal
from tests.processes import gunicorn
from tests.storm import SECRET, deliveries, send_all

COUNT = 400


@pytest.mark.django_db(transaction=True)
def test_every_genuine_event_takes_effect_once_though_the_server_is_killed_half_way() -> None:
    messages = deliveries(COUNT)
    people = {str(message.person) for message in messages if message.genuine}
    with gunicorn({"JANE_WEBHOOK_SECRETS": SECRET}) as server:

        def crash() -> None:
            server.kill()
            server.start()

        storm = send_all(server, "/webhooks/jane/", messages, half_way=crash)
    assert storm.repeated >= 1
    stored = WebhookDelivery.objects.filter(outcome=Outcome.STORED)
    assert stored.count() == WebhookDelivery.objects.count() == len(people)
    assert set(Membership.objects.values_list("person_id", flat=True)) == people
    assert Membership.objects.count() == MembershipChange.objects.count() == len(people)
    assert sum(row.count for row in WebhookRefusal.objects.all()) >= COUNT // 10
