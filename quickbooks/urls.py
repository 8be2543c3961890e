from django.urls import path

from quickbooks import consent, views

app_name = "quickbooks"
urlpatterns = [
    path("fix/", views.fix, name="fix"),
    path("connect/", consent.connect, name="connect"),
    path("callback/", consent.callback, name="callback"),
    path("check/", views.check_now, name="check"),
    path("disconnect/", views.disconnect, name="disconnect"),
    path("take-over/", views.take_over, name="take_over"),
    path("disconnected/", views.disconnected, name="disconnected"),
]
