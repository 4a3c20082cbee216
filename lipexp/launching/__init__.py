"""Sweeps: the points of a request with several values, and where they are computed."""
