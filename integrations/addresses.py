"""Addresses of pages, remembered: a page asks for a dozen of them, and `reverse` takes its time."""

from functools import lru_cache

from django.urls import reverse


@lru_cache(maxsize=4096)
def address(name: str, *args: str) -> str:
    """The path of a named page; the routes do not change while the product runs."""
    return reverse(name, args=args)
