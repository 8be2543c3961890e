from django.urls import path

from dashboard import views

app_name = "dashboard"

urlpatterns = [
    path("", views.index, name="index"),
    path("cards/<slug:slug>/<str:account>/", views.card, name="card"),
    path("history/", views.history, name="history"),
]
