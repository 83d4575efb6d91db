"""Protocols: what methods are judged on."""
