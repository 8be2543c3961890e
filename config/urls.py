from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from config import views

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="dashboard:index")),
    path("dashboard/", include("dashboard.urls")),
    path("quickbooks/", include("quickbooks.urls")),
    path("api/admin/", include("quickbooks.api_urls")),
    path("", include("integrations.urls")),
    # With DEBUG on as well, where Django has a page of its own for what it cannot find.
    path("api/<path:rest>", views.nothing_here),
    path("admin/", admin.site.urls),
]

handler400 = views.bad_request
handler403 = views.permission_denied
handler404 = views.not_found
handler500 = views.server_error
