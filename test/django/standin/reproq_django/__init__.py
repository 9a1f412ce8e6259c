"""Stands in for reproq-django where the package index has it not; see test/django/README.md.

The same modules and names, the same rows, spec, hash, signals, command line and envelope, as far as a project and this
broker can tell; no code is shared. Where it falls short of the real one it is because no test asks.
"""

__version__ = "0+standin"
