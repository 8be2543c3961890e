"""QuickBooks in the admin: companies, their checks, and the journal of their grants.

Everything here is read-only. A token is never shown, nor loaded for a page.
"""

from quickbooks.admin import checks, companies, journal

__all__ = ["checks", "companies", "journal"]
