"""Django with the settings of an installation. Imported ahead of all else, like `environment`."""

import django

django.setup()
