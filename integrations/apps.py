from django.apps import AppConfig
from django.core.checks import register


class IntegrationsConfig(AppConfig):
    name = "integrations"
    verbose_name = "Integrations"

    def ready(self) -> None:
        from integrations import checks

        register(checks.mail_reaches_people)
        register(checks.mail_password_is_protected)
