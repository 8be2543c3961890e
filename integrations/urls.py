from django.urls import path

from integrations import api

urlpatterns = [
    path("integrations", api.integrations),
    path("integrations/", api.integrations),
]
