"""Plots: one style, small functions that take tables and return figures."""
