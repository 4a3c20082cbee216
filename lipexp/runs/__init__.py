"""Runs: their folders, what is done and what is missing, and the way from a request to a result."""
