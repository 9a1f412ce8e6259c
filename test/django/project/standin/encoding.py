"""Arguments, the spec and its hash."""

import hashlib
import json
from datetime import timedelta

from django.apps import apps
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model

TYPE = "__reproq_type__"


def encode(value):
    if isinstance(value, Model):
        return {TYPE: "model", "app_label": value._meta.app_label, "model": value._meta.model_name, "pk": str(value.pk)}
    if isinstance(value, timedelta):
        return {TYPE: "timedelta", "days": value.days, "seconds": value.seconds, "microseconds": value.microseconds}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    return value


def decode(value):
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(TYPE)
    if kind == "model":
        return apps.get_model(value["app_label"], value["model"])._default_manager.get(pk=value["pk"])
    if kind == "timedelta":
        return timedelta(value["days"], value["seconds"], value["microseconds"])
    return {key: decode(item) for key, item in value.items()}


def spec_of(task, args, kwargs, options):
    return {
        "v": 1,
        "task_path": task.module_path,
        "args": encode(list(args)),
        "kwargs": encode(kwargs),
        "takes_context": task.takes_context,
        "queue_name": task.queue_name,
        "priority": task.priority,
        "lock_key": None,
        "concurrency_key": None,
        "concurrency_limit": 0,
        "run_after": task.run_after.isoformat() if task.run_after else None,
        "exec": {"timeout_seconds": int(options.get("TIMEOUT_SECONDS", 900)), "max_attempts": int(options.get("MAX_ATTEMPTS", 3))},
        "provenance": {"code_ref": options.get("CODE_REF"), "pip_lock_hash": options.get("PIP_LOCK_HASH")},
    }


def canonical(spec):
    return json.dumps(spec, sort_keys=True, separators=(",", ":"), ensure_ascii=False, cls=DjangoJSONEncoder)


def spec_hash(spec):
    return hashlib.sha256(canonical(spec).encode()).hexdigest()
