"""The product with the yardsticks' addresses beside its own, for gunicorn."""

from django.conf import settings
from django.core.wsgi import get_wsgi_application

settings.ROOT_URLCONF = "tests.bench.urls"
application = get_wsgi_application()
