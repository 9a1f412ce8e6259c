"""Arguments as JSON, and the text and hash of a spec."""

import hashlib
import json
from datetime import timedelta

from django.apps import apps
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Model

TYPE = "__reproq_type__"


def encode_payload(value):
    if isinstance(value, Model):
        return {TYPE: "model", "app_label": value._meta.app_label, "model": value._meta.model_name, "pk": str(value.pk)}
    if isinstance(value, timedelta):
        return {TYPE: "timedelta", "days": value.days, "seconds": value.seconds, "microseconds": value.microseconds}
    if isinstance(value, (list, tuple)):
        return [encode_payload(item) for item in value]
    if isinstance(value, dict):
        return {key: encode_payload(item) for key, item in value.items()}
    return value


def decode_payload(value):
    if isinstance(value, list):
        return [decode_payload(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind = value.get(TYPE)
    if kind == "model":
        return apps.get_model(value["app_label"], value["model"])._default_manager.get(pk=value["pk"])
    if kind == "timedelta":
        return timedelta(value["days"], value["seconds"], value["microseconds"])
    return {key: decode_payload(item) for key, item in value.items()}


def canonical_json(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, cls=DjangoJSONEncoder)


def normalize_and_hash(value):
    """What the row stores, and the hash of the text before it: not to be had from what is stored."""
    text = canonical_json(value)
    return json.loads(text), hashlib.sha256(text.encode()).hexdigest()
