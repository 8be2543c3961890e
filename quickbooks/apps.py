from django.apps import AppConfig


class QuickBooksConfig(AppConfig):
    name = "quickbooks"
    verbose_name = "QuickBooks"
