"""The page under a card that tells what to paste where, and its button for a test delivery."""

from dataclasses import dataclass

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_POST, require_safe

from integrations.access import staff_page
from integrations.addresses import address
from integrations.base import Action, Integration
from integrations.deadline import Deadline
from integrations.http import ExchangeError, exchange, pooled_session
from integrations.registry import get_integration
from integrations.webhooks import TEST_HEADER, TEST_SIGNER, Webhook

# Longer than an own server takes that is busy, shorter than a person waits.
TEST_DEADLINE_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """Whether the test delivery got in, in a sentence that says what to look at if not."""

    arrived: bool
    sentence: str


def webhook_url(slug: str) -> str:
    """Where the vendor has to send, from outside."""
    return settings.SITE_URL + reverse("integrations:webhook", args=[slug])


def set_up_link(slug: str) -> Action:
    """The quiet link of a card to this page."""
    return Action(label="Set-up help", url=address("integrations:set_up", slug))


def set_up_button(slug: str) -> Action:
    """The button in its place, where something that was set up has to be mended."""
    return Action(label="See set-up steps", url=address("integrations:set_up", slug))


@require_safe
@staff_page
def page(request: HttpRequest, slug: str) -> HttpResponse:
    integration = _wanted(slug)
    webhook = integration.webhook
    return render(
        request,
        "integrations/set_up.html",
        {
            "integration": integration,
            "steps": integration.set_up_steps(),
            "webhook_url": webhook_url(slug) if webhook else "",
            "can_test": webhook is not None and webhook.test_message(timezone.now()) is not None,
        },
    )


@require_POST
@staff_page
def send_test(request: HttpRequest, slug: str) -> HttpResponse:
    integration = _wanted(slug)
    if integration.webhook is None:
        raise Http404
    result = deliver_test(integration.webhook)
    level = messages.SUCCESS if result.arrived else messages.ERROR
    messages.add_message(request, level, result.sentence)
    return redirect(f"{reverse('integrations:set_up', args=[slug])}#test-delivery")


def deliver_test(webhook: Webhook) -> TestResult:
    """Send a delivery to our own address as the vendor would, through whatever lies before it."""
    prepared = webhook.test_message(timezone.now())
    if prepared is None:
        return TestResult(arrived=False, sentence="Nothing was sent: no secret is set up yet.")
    body, headers = prepared
    url = webhook_url(webhook.slug)
    mark = {TEST_HEADER: TEST_SIGNER.sign(webhook.slug), "Content-Type": "application/json"}
    try:
        answer = exchange(
            pooled_session(),
            "POST",
            url,
            Deadline(TEST_DEADLINE_SECONDS),
            data=body,
            headers={**headers, **mark},
        )
    except ExchangeError as error:
        sentence = f"The test delivery did not get through to {url}: {error.detail}."
        return TestResult(arrived=False, sentence=f"{sentence} Is SITE_URL the right address?")
    if answer.status_code == 200 and b'"status": "' in answer.content:
        return TestResult(arrived=True, sentence="The test delivery arrived. It counts nowhere.")
    return TestResult(arrived=False, sentence=_why(answer.status_code, url))


def _why(status: int, url: str) -> str:
    if status == 401:
        return (
            "The test delivery was refused (401): this server and the one that answers at "
            f"{url} have different secrets. Was it restarted after .env was changed?"
        )
    if 300 <= status < 400:
        return f"{url} redirects ({status}). Senders do not follow that: is SITE_URL right?"
    return f"{url} answered {status}. Something stands between that address and this server."


def _wanted(slug: str) -> Integration:
    integration = get_integration(slug)
    if integration is None or not integration.set_up_steps():
        raise Http404
    return integration
