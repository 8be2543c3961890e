from django.urls import path

from quickbooks import consent, guests, views

app_name = "quickbooks"
urlpatterns = [
    path("fix/", views.fix, name="fix"),
    path("connect/", consent.connect, name="connect"),
    path("callback/", consent.callback, name="callback"),
    path("check/", views.check_now, name="check"),
    path("disconnect/", views.disconnect, name="disconnect"),
    path("take-over/", views.take_over, name="take_over"),
    path("hand-over/", guests.hand_over_page, name="hand_over"),
    path("hand-over/thanks/", guests.thanks, name="hand_over_thanks"),
    path("hand-over/make/", views.make_hand_over, name="make_hand_over"),
    path("hand-over/take-back/", views.take_hand_over_back, name="take_hand_over_back"),
    path("disconnected/", views.disconnected, name="disconnected"),
]
