"""Runs: their folders, what is done and what is missing, and the way from a request to a result.

A file that one kind of work alone needs stands in that work's room: ``probe``, ``train``,
``certify``, and ``collect``, which reads what the others have left.  What several need stands here.
"""
