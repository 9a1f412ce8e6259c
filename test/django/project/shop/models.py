from django.db import models


class Customer(models.Model):
    name = models.TextField()


class Note(models.Model):
    """What tasks and receivers leave behind, in order."""

    text = models.TextField()
