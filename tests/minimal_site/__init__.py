"""A host site with the extra ``jwt`` alone, and with a custom user model.

``python -m tests.minimal_site`` uses it, in a process of its own; see ``tests/test_packaging.py``.
"""
