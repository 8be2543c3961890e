"""What gunicorn serves: `gunicorn config.wsgi:application`."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

try:
    application = get_wsgi_application()
except ImproperlyConfigured as error:
    # One sentence instead of a traceback. 3 is gunicorn's WORKER_BOOT_ERROR: it stops the
    # server instead of starting the same failing worker for ever.
    print(f"Settings: {error}", file=sys.stderr)
    sys.exit(3)
