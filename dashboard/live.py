"""Asking every vendor at once, for a page that cannot do it card by card."""

import datetime as dt
import logging
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace

from django.db import connections

from integrations.base import Assessment
from integrations.registry import get_integration

logger = logging.getLogger(__name__)

# Twelve companies and a handful of other integrations; the threads mostly wait.
THREADS = 16
# Longer than one deadline of a vendor, shorter than the patience of a web server.
PATIENCE_SECONDS = 15.0


def check_all(
    assessments: Sequence[Assessment], now: dt.datetime, user_id: int | None
) -> list[Assessment]:
    """Probe all of them side by side; whoever does not answer in time stays as it is stored."""
    if not assessments:
        return []
    pool = ThreadPoolExecutor(min(THREADS, len(assessments)), thread_name_prefix="live-check")
    jobs = [pool.submit(_check, assessment, now, user_id) for assessment in assessments]
    wait(jobs, timeout=PATIENCE_SECONDS)
    # The late ones finish behind our back and record what they find.
    pool.shutdown(wait=False)
    found = (_result(job, known) for job, known in zip(jobs, assessments, strict=True))
    return [assessment for assessment in found if assessment is not None]


def _check(assessment: Assessment, now: dt.datetime, user_id: int | None) -> Assessment | None:
    integration = get_integration(assessment.integration)
    try:
        return integration.check(assessment.account, now, user_id) if integration else None
    finally:
        # A thread has connections of its own, and nobody else would close them.
        connections.close_all()


def _result(job: "Future[Assessment | None]", known: Assessment) -> Assessment | None:
    if not job.done():
        return replace(known, checking=True)
    if error := job.exception():
        logger.error("The check of %s failed.", known.name, exc_info=error)
        return replace(
            known, notice="This check could not be made. What you see is the last known result."
        )
    return job.result()
