from django.apps import AppConfig


class GoHighLevelConfig(AppConfig):
    name = "integrations.gohighlevel"
    verbose_name = "GoHighLevel"
