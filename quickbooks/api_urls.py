from django.urls import path

from quickbooks import api

urlpatterns = [
    path("quickbooks/connection-status", api.connection_status, name="connection-status"),
    path("quickbooks/connection-status/", api.connection_status),
]
