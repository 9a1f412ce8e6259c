import os
from urllib.parse import unquote, urlsplit

_url = urlsplit(os.environ["SHOP_DATABASE_URL"])

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _url.path.removeprefix("/"),
        "USER": unquote(_url.username or ""),
        "PASSWORD": unquote(_url.password or ""),
        "HOST": _url.hostname,
        "PORT": _url.port,
    }
}
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "reproq_django", "shop"]
TASKS = {
    "default": {"BACKEND": "reproq_django.backend.ReproqBackend", "QUEUES": []},
    "undeduplicated": {"BACKEND": "reproq_django.backend.ReproqBackend", "QUEUES": [], "OPTIONS": {"DEDUP_ACTIVE": False}},
}
SECRET_KEY = "only for tests"
USE_TZ = True
