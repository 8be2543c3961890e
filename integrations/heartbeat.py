"""A sign of life to somebody outside, who notices when it stays away.

What watches from inside this machine cannot tell that the machine is off.
"""

import logging

from django.conf import settings

from integrations.deadline import Deadline
from integrations.http import ExchangeError, exchange, pooled_session

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 10


def beat() -> None:
    """One GET of `HEARTBEAT_URL`, if it is set. Whatever comes of it changes nothing here.

    The URL is a secret: whoever knows it can pretend that we are alive.
    """
    if not settings.HEARTBEAT_URL:
        return
    try:
        answer = exchange(
            pooled_session(), "GET", settings.HEARTBEAT_URL, Deadline(PATIENCE_SECONDS)
        )
    except ExchangeError as error:
        logger.warning("The heartbeat did not arrive: %s", error.detail)
        return
    if not 200 <= answer.status_code < 300:
        logger.warning("The heartbeat was answered with HTTP %d", answer.status_code)
