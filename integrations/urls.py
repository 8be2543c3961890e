from django.urls import path

from integrations import answer_views, api, incident_views, pauses, prometheus, set_up, views

app_name = "integrations"
urlpatterns = [
    path("metrics", prometheus.metrics, name="metrics"),
    path("api/admin/integrations", api.integrations),
    path("api/admin/integrations/", api.integrations),
    path("api/admin/incidents", api.incidents),
    path("api/admin/incidents/", api.incidents),
    path("incidents/", incident_views.index, name="incidents"),
    path("incidents/<int:pk>/", incident_views.page, name="incident"),
    path("incidents/<int:pk>/acknowledge/", incident_views.acknowledge, name="acknowledge"),
    path("incidents/<int:pk>/snooze/", incident_views.snooze, name="snooze"),
    path("incidents/answer/", answer_views.page, name="answer"),
    path("integrations/<slug:slug>/pause/", pauses.page, name="pause"),
    path("integrations/<slug:slug>/resume/", pauses.resume, name="resume"),
    # Both spellings: a redirect would turn a vendor's POST into a GET.
    path("webhooks/<slug:slug>/", views.webhook, name="webhook"),
    path("webhooks/<slug:slug>", views.webhook),
    path("integrations/<slug:slug>/set-up/", set_up.page, name="set_up"),
    path("integrations/<slug:slug>/test-delivery/", set_up.send_test, name="test_delivery"),
]
