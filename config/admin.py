"""The admin site: the statuses of all integrations on its front page."""

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils import timezone

from integrations.registry import assess_all
from integrations.standing import stand


class MonitorAdminSite(AdminSite):
    site_header = "QuickBooks connection monitor"
    site_title = "Connection monitor"
    index_title = "Connections"
    index_template = "admin/monitor_index.html"
    site_url = "/dashboard/"
    enable_nav_sidebar = False  # it pushes the columns of the history out of sight

    def index(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        now = timezone.now()
        shown = {"assessments": stand(assess_all(now), now)}
        return super().index(request, {**shown, **(extra_context or {})})
