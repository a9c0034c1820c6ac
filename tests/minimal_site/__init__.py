"""A host site with the required packages alone and a user model that Django's own is not.

``python -m tests.minimal_site`` uses it, in a process of its own; see ``tests/test_packaging.py``.
"""
