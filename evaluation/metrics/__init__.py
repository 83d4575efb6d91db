"""Metrics: features of films, statistics over them, and values."""
