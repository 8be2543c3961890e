"""The ways to people: e-mail through Django, everything else through Apprise.

A failure is a short reason in our own words. What the libraries say can hold an address, a URL
or a password, so nothing of it is kept.
"""

import json
import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection

from integrations.alerts import bounded, services
from integrations.crypto import EncryptionError
from integrations.models import Recipient

MAIL, SERVICE = "the mail server", "the service"
_CONSOLE = "django.core.mail.backends.console.EmailBackend"


@dataclass(frozen=True, kw_only=True)
class Message:
    """One line of subject; `headers` are those of the e-mail."""

    subject: str
    text: str
    html: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Scope(StrEnum):
    """What a failure says something about."""

    MESSAGE = "message"
    RECIPIENT = "recipient"
    CHANNEL = "channel"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """`doubtful`: it may have arrived nevertheless."""

    reason: str
    scope: Scope = Scope.CHANNEL
    doubtful: bool = False


Tell = Callable[[Failure | None], object]


def mail_is_only_printed() -> bool:
    """Without EMAIL_URL: that counts as sent, and reaches nobody."""
    return bool(settings.EMAIL_BACKEND == _CONSOLE)


def send(recipient: Recipient, message: Message, deadline: float) -> Failure | None:
    """Send it from a child process, in so many seconds at most. None: it has been taken."""
    try:
        work = _mail(recipient.email, message) if recipient.email else _service(recipient, message)
    except EncryptionError:
        return Failure(reason="its URL cannot be decrypted", scope=Scope.RECIPIENT)
    except services.Unusable as error:
        return Failure(reason=str(error), scope=Scope.RECIPIENT)
    except Exception as error:
        return Failure(reason=_unsent(error), scope=Scope.RECIPIENT)
    try:
        said = bounded.call(lambda say: work(lambda found: say(_packed(found))), deadline)
    except TimeoutError:
        who = MAIL if recipient.email else SERVICE
        return Failure(reason=f"{who} did not answer in time", doubtful=True)
    except ChildProcessError:
        return Failure(reason="the sending process ended unexpectedly", doubtful=True)
    except OSError as error:
        return Failure(reason=f"no process could be started ({type(error).__name__})")
    return _unpacked(said)


def _packed(failure: Failure | None) -> str:
    return json.dumps(asdict(failure) if failure else None)


def _unpacked(said: str) -> Failure | None:
    found = json.loads(said)
    return Failure(**{**found, "scope": Scope(found["scope"])}) if found else None


def _mail(address: str, message: Message) -> Callable[[Tell], None]:
    mail = EmailMultiAlternatives(
        message.subject, message.text, to=[address], headers=dict(message.headers)
    )
    mail.attach_alternative(message.html, "text/html")
    server = get_connection()

    def work(tell: Tell) -> None:
        opened = False
        try:
            server.open()
            opened = True
            server.send_messages([mail])
        except Exception as error:
            tell(_mail_failure(error, opened))
            return
        # Said before the goodbye: a server that hangs there has taken the message all the same.
        tell(None)
        server.close()

    return work


def _mail_failure(error: Exception, opened: bool) -> Failure:
    """What an exception of smtplib or of the network under it means.

    https://docs.python.org/3/library/smtplib.html#smtplib.SMTPException
    """
    match error:
        case smtplib.SMTPRecipientsRefused():
            code = next((code for code, _ in error.recipients.values()), 0)
            return _refused("this address", code, Scope.RECIPIENT)
        case smtplib.SMTPAuthenticationError():
            return _refused("our login", error.smtp_code, Scope.CHANNEL)
        case smtplib.SMTPSenderRefused():
            return _refused("our sender's address", error.smtp_code, Scope.CHANNEL)
        case smtplib.SMTPDataError():
            return _refused("the message", error.smtp_code, Scope.MESSAGE)
        case smtplib.SMTPResponseException():
            return _refused("to talk to us", error.smtp_code, Scope.CHANNEL)
        case smtplib.SMTPNotSupportedError():
            return Failure(reason=f"{MAIL} cannot do what EMAIL_URL asks of it")
    # smtplib turns a time-out while it reads into a lost connection.
    for one in (error, error.__context__):
        if isinstance(one, TimeoutError):
            return Failure(reason=f"{MAIL} did not answer in time", doubtful=opened)
    match error:
        case smtplib.SMTPServerDisconnected():
            return Failure(reason=f"{MAIL} hung up", doubtful=opened)
        case ConnectionRefusedError():
            return Failure(reason=f"{MAIL} refused the connection")
        case socket.gaierror():
            return Failure(reason=f"the name of {MAIL} cannot be resolved")
        case ssl.SSLError():
            return Failure(reason=f"no secure connection (TLS) to {MAIL}", doubtful=opened)
        case OSError():
            return Failure(reason=f"the connection to {MAIL} failed", doubtful=opened)
    return Failure(reason=_unsent(error), doubtful=opened)


def _unsent(error: Exception) -> str:
    """All that is kept of an exception that we know nothing about."""
    return f"it could not be sent ({type(error).__name__})"


def _refused(what: str, code: int, scope: Scope) -> Failure:
    # 421: "Service not available, closing transmission channel", RFC 5321, 4.2.3
    return Failure(
        reason=f"{MAIL} refused {what} ({code})", scope=Scope.CHANNEL if code == 421 else scope
    )


def _service(recipient: Recipient, message: Message) -> Callable[[Tell], None]:
    service = services.load(recipient.url)

    def work(tell: Tell) -> None:
        try:
            said = services.notify(service, message.subject, message.text)
            tell(None if said is None else _service_failure(said))
        except Exception as error:
            tell(Failure(reason=_unsent(error), doubtful=True))

    return work


def _service_failure(said: str) -> Failure:
    """All that is taken from Apprise's own words: an HTTP status."""
    if found := re.search(r"\berror=(\d{3})\b", said):
        return Failure(reason=f"{SERVICE} answered with an error ({found[1]})")
    if "onnection error" in said:
        return Failure(reason=f"no answer from {SERVICE}", doubtful=True)
    return Failure(reason=f"{SERVICE} did not take it")
