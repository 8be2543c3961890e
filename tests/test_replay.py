"""Three months of weather against the whole chain: everything real is told once, no blip ever."""

import datetime as dt

import pytest
from django.db import connection

from quickbooks.simulator.server import Simulator
from quickbooks.simulator.world import World
from tests.replay import Replay, Sky, owner

BEGIN = dt.datetime(2026, 1, 5, 8, tzinfo=dt.UTC)


@pytest.mark.django_db
def test_every_real_outage_is_told_once_and_its_end_once_and_no_blip_is_told(
    world: World, simulator: Simulator
) -> None:
    # The chain is the same on both; PostgreSQL sees a part of it, and the bench a year.
    days = 90 if connection.vendor == "sqlite" else 14
    owner()
    sky = Sky(seed=2026, begin=BEGIN, days=days)
    result = Replay(sky, world).run()
    print(result)
    assert result.outages >= days // 10
    assert result.blips >= days // 10
    assert (result.missed, result.doubled, result.unrecovered, result.false) == ([], [], [], [])
    assert result.most_alerts <= 2
    # Nobody answers, so a long one is called to mind; but not for ever.
    assert result.reminders <= 7 * result.outages
    assert result.slowest <= dt.timedelta(minutes=33)
    # And the monitor has not broken what it watches: a token that a person has revoked is
    # presented once, to find that out, and no other dead one ever.
    revoked = sum(spell.kind == "revoked" for spell in sky.spells)
    dead = [call.refresh_fingerprint for call in world.calls("token") if call.dead_token]
    assert len(dead) == len(set(dead)) <= revoked
