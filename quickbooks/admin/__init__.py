"""QuickBooks in the admin: companies, their checks, the journal of their grants, hand-over links.

Everything here is read-only, except that a link can be taken back. A token is never shown, nor
loaded for a page.
"""

from quickbooks.admin import checks, companies, hand_overs, journal

__all__ = ["checks", "companies", "hand_overs", "journal"]
