"""Everything but e-mail, by way of Apprise: Slack, Teams, SMS and many more, each by a URL.

https://github.com/caronc/apprise/wiki
"""

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apprise import Apprise

# These would tell whoever sits at the server.
LOCAL_SCHEMES = frozenset(
    {"blink1", "dbus", "glib", "gnome", "kde", "macosx", "qt", "syslog", "windows"}
)


class Unusable(ValueError):
    """A URL that leads nowhere; says why in words that keep its secrets."""


def scheme_of(url: str) -> str:
    """What of an Apprise URL anybody may see."""
    return url.partition("://")[0].lower()


def load(url: str) -> "Apprise":
    """A service by its Apprise URL. Raises `Unusable`."""
    # Here, because it takes half a second that no page should pay for.
    from apprise import Apprise, AppriseAsset

    # It prints URLs.
    logger = logging.getLogger("apprise")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    found = Apprise(asset=AppriseAsset(async_mode=False, http_redirects=False))
    if scheme_of(url) in LOCAL_SCHEMES:
        raise Unusable("it would only show something on the server itself")
    # More than one URL in a line would be taken as several services.
    if not found.add(url) or len(found) != 1:
        raise Unusable("it is not a URL that Apprise can use")
    return found


def notify(service: "Apprise", title: str, text: str) -> str | None:
    """Send it. None: it has been taken; otherwise what Apprise says, which may hold anything."""
    from apprise import NotifyFormat

    result = service.notify(title=title, body=text, body_format=NotifyFormat.TEXT)
    return None if result else " ".join(entry.message for entry in result.logs())
