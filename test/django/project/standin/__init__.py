"""Stands in for reproq-django, which the package index had no release of when this was written.

Real Django: its migrations, ORM, transactions, task framework and signals. The rows, the spec and its hash, and the
executor's command line and envelope are made here from what is documented of reproq-django 0.1.529; no code is shared.
What passes shows that Django works with this broker and worker. It does not show that reproq-django does.
"""
