"""Plain Python functions: a run of examples.python_tasks.add calls add()."""

from collections import Counter


def add(a, b):
    return a + b


def count_words(text, most=3):
    return dict(Counter(text.lower().split()).most_common(most))
