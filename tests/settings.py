"""Django's settings for the tests and for mypy's plugin."""

DATABASES = {"default": {"ENGINE": "pgmagic.db.backend", "NAME": "pgmagic"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "pgmagic.pgtrigger",
    "pgmagic.pghistory",
]
PGMAGIC_NOTEBOOK = True
PGTRIGGER_PRUNE_ON_INSTALL = False
SECRET_KEY = "only for tests"
TIME_ZONE = "UTC"
USE_TZ = True
