"""What a Django project needs around its tasks. Nothing happens without DJANGO_SETTINGS_MODULE and Django."""

from __future__ import annotations

import os
import sys


def set_up() -> list[str]:
    """Loads the apps, once. Returns where they keep their tasks."""
    if not os.environ.get("DJANGO_SETTINGS_MODULE"):
        return []
    try:
        import django  # type: ignore[import-not-found,unused-ignore]
        from django.apps import apps  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return []
    if not apps.ready:
        django.setup()
    return [f"{app.name}.tasks" for app in apps.get_app_configs()]


def between_runs() -> None:
    """As between two requests: connections that are broken or too old are closed, and opened anew when they are needed."""
    database = sys.modules.get("django.db")
    if database is not None and os.environ.get("DJANGO_SETTINGS_MODULE"):
        database.reset_queries()
        database.close_old_connections()


def close_connections() -> None:
    """Before a fork: a connection that two processes share is a broken connection."""
    database = sys.modules.get("django.db")
    if database is not None and os.environ.get("DJANGO_SETTINGS_MODULE"):
        database.connections.close_all()
