from django.apps import AppConfig


class JaneConfig(AppConfig):
    name = "integrations.jane"
    verbose_name = "Jane / ClinicSync"
