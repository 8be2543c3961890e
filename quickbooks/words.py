"""What people read for each diagnosis: title, what it means for payments, next step, button.

For a clinic manager who is not technical. The product moves no payments, so it says "payment
tracking" and never "missing payments".
"""

import datetime as dt
from dataclasses import dataclass, replace

from config.schedule import CHECKER
from integrations import times
from quickbooks.diagnosis import Code


@dataclass(frozen=True, kw_only=True)
class Words:
    """The texts of one diagnosis, with `{…}` for what only the moment knows."""

    title: str
    impact: str
    next_step: str
    button: str
    who_acts: str

    def told(self, moments: dict[str, str]) -> "Words":
        """With its gaps filled."""
        return replace(
            self,
            impact=self.impact.format(**moments),
            next_step=self.next_step.format(**moments),
        )


_STOPPED = "Payment tracking stopped {since}."

WORDS: dict[Code, Words] = {
    Code.OK: Words(
        title="Connected",
        impact="QuickBooks answered at {time}. Payment tracking is working.",
        next_step="Nothing to do.",
        button="",
        who_acts="nobody",
    ),
    Code.NOT_CONFIGURED: Words(
        title="QuickBooks isn't set up yet",
        impact="Payment tracking hasn't started. Jane bookings and card payments are not affected.",
        next_step="Ask your IT person to enter the QuickBooks app keys, once. About 15 minutes.",
        button="See set-up steps",
        who_acts="administrator",
    ),
    Code.NOT_CONNECTED: Words(
        title="QuickBooks isn't connected yet",
        impact="Payment tracking starts when you connect. "
        "Nothing in Jane or QuickBooks is affected.",
        next_step="Sign in as a QuickBooks administrator and choose your company. "
        "About two minutes.",
        button="Connect QuickBooks",
        who_acts="clinic",
    ),
    Code.DISCONNECTED_HERE: Words(
        title="QuickBooks was disconnected here",
        impact="{person} disconnected it on {date}. Payment tracking has been off since then.",
        next_step="If that was intended, nothing to do. "
        "Otherwise sign in again as a QuickBooks administrator.",
        button="Fix Connection",
        who_acts="clinic",
    ),
    Code.RECONNECT_REQUIRED: Words(
        title="QuickBooks is disconnected",
        impact=f"{_STOPPED} Jane bookings and card payments still work, "
        "and nothing already in QuickBooks is lost.",
        next_step="Sign in as a QuickBooks administrator and choose {company}. "
        "About two minutes. Not an administrator? Send the link to one.",
        button="Fix Connection",
        who_acts="clinic",
    ),
    Code.REFRESH_RESPONSE_LOST: Words(
        title="QuickBooks is disconnected: a renewal got lost",
        impact="Payment tracking stopped {since}, most likely because an answer from QuickBooks "
        "never reached us. Nobody did anything wrong.",
        next_step="Sign in as a QuickBooks administrator and choose {company}. "
        "About two minutes. Not an administrator? Send the link to one.",
        button="Fix Connection",
        who_acts="clinic",
    ),
    Code.APP_CREDENTIALS_REJECTED: Words(
        title="QuickBooks doesn't accept our app keys",
        impact=f"{_STOPPED} Jane is not affected.",
        next_step="Your IT person must replace the keys. Signing in again will not fix this.",
        button="Send to IT",
        who_acts="administrator",
    ),
    Code.WRONG_COMPANY_OR_ENVIRONMENT: Words(
        title="The wrong QuickBooks company is connected",
        impact="Payment tracking can't be trusted since {since}: it would look at the wrong "
        "books. We changed nothing there.",
        next_step="Ask your IT person to check which company and which keys, test or real, "
        "are set up.",
        button="Send to IT",
        who_acts="administrator",
    ),
    Code.FOREIGN_COPY: Words(
        title="This is a copy of another installation",
        impact="Nothing is renewed from here, so that the original keeps working.",
        next_step="If this server has replaced the original, ask your IT person to take over.",
        button="Take over",
        who_acts="administrator",
    ),
    Code.ACCESS_DENIED: Words(
        title="QuickBooks refuses us access",
        impact=f"{_STOPPED} Whoever connected QuickBooks may no longer be an administrator there.",
        next_step="Ask a current QuickBooks administrator to sign in here, or send them the link.",
        button="Fix Connection",
        who_acts="clinic",
    ),
    Code.SUBSCRIPTION_ENDED: Words(
        title="Your QuickBooks subscription needs attention",
        impact="New payments can't be entered in QuickBooks. Existing records can still be read.",
        next_step="Ask the account owner to check billing in QuickBooks. Reconnecting won't help. "
        "We'll notice when it works again.",
        button="Open QuickBooks",
        who_acts="clinic",
    ),
    Code.THROTTLED: Words(
        title="QuickBooks asked us to slow down",
        impact="Payment tracking may be a few minutes late. Nothing is lost.",
        next_step="Nothing to do. We try again at {time}.",
        button="",
        who_acts="nobody",
    ),
    Code.INTUIT_UNAVAILABLE: Words(
        title="QuickBooks is having problems",
        impact="Payment tracking has been waiting since {since}. "
        "The problem is at QuickBooks, not at your clinic.",
        next_step="Please don't reconnect; it won't help. "
        "We keep checking and will tell you when it works.",
        button="Check now",
        who_acts="intuit",
    ),
    Code.NETWORK_UNREACHABLE: Words(
        title="Our server can't reach QuickBooks",
        impact="Payment tracking has been waiting since {since}. QuickBooks itself may be fine.",
        next_step="If this lasts over an hour, ask your IT person to check this server's "
        "internet connection.",
        button="Send to IT",
        who_acts="administrator",
    ),
    Code.TIMEOUT: Words(
        title="QuickBooks is answering too slowly",
        impact="Payment tracking has been delayed since {since}. QuickBooks has not refused us.",
        next_step="Nothing to do now. We keep checking; reconnecting would not make it faster.",
        button="Check now",
        who_acts="intuit",
    ),
    Code.UNEXPECTED_REPLY: Words(
        title="We got an answer we don't understand",
        impact="Payment tracking can't be confirmed since {since}. "
        "Something between us and QuickBooks may be in the way.",
        next_step="If this lasts over an hour, ask your IT person to check the firewall. "
        "Details are below.",
        button="Send to IT",
        who_acts="administrator",
    ),
}

ALLOWANCE_USED_UP = Words(
    title="This month's QuickBooks allowance is used up",
    impact="Payments can't be checked until {date}. Nothing shows a fault in your connection.",
    next_step="Please don't reconnect. Your IT person can raise the allowance; "
    "otherwise it resumes on {date}.",
    button="Send to IT",
    who_acts="administrator",
)


STRAYED = Words(
    title=WORDS[Code.WRONG_COMPANY_OR_ENVIRONMENT].title,
    impact="Somebody signed in for another company with the link that was made for {company}. "
    "Payment tracking can't be trusted since {since}; we changed nothing in any books.",
    next_step=WORDS[Code.RECONNECT_REQUIRED].next_step,
    button="Fix Connection",
    who_acts="clinic",
)


def renewing_fails(answered_at: dt.datetime) -> Words:
    """For a company that answers, and whose last three renewals failed. It has no code."""
    return Words(
        title="Works today, but renewing fails.",
        impact=f"QuickBooks answered at {times.clock(answered_at)}, so payment tracking is "
        "working. But our last three tries to renew the access failed, and without that it "
        "stops within the hour.",
        next_step="Nothing for the clinic to do: please don't reconnect. If it stops, ask your "
        "IT person to check the app keys and this server's internet connection.",
        button="Send to IT",
        who_acts="administrator",
    )


def moments(
    code: Code,
    *,
    since: dt.datetime,
    answered_at: dt.datetime,
    disconnected_at: dt.datetime | None,
    company: str,
    person: str,
    now: dt.datetime,
) -> dict[str, str]:
    """What fills the gaps of a diagnosis' texts. `answered_at`: when QuickBooks was last asked."""
    time, date = answered_at, disconnected_at or now
    if code is Code.THROTTLED:
        # The allowance begins anew with the month.
        time = CHECKER.next_run(now)
        date = (now.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    return {
        "since": times.since_when(since, now),
        "time": times.clock(time),
        "company": company,
        "person": person or "Somebody",
        "date": times.calendar_day(date),
    }


def title(code: str) -> str:
    """The title of a stored diagnosis; of one that is no longer known, its code."""
    return WORDS[Code(code)].title if code in set(Code) else code


def who_acts(code: Code) -> str:
    """nobody, clinic, administrator or intuit."""
    return WORDS[code].who_acts
