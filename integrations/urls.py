from django.urls import path

from integrations import api, set_up, views

app_name = "integrations"
urlpatterns = [
    path("api/admin/integrations", api.integrations),
    path("api/admin/integrations/", api.integrations),
    # Both spellings: a redirect would turn a vendor's POST into a GET.
    path("webhooks/<slug:slug>/", views.webhook, name="webhook"),
    path("webhooks/<slug:slug>", views.webhook),
    path("integrations/<slug:slug>/set-up/", set_up.page, name="set_up"),
    path("integrations/<slug:slug>/test-delivery/", set_up.send_test, name="test_delivery"),
]
