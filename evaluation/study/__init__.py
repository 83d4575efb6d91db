"""A blind study: people rate the methods' films side by side, and their votes join the report."""

PORT = 8765
"""Where a study is served, where no other port is asked for."""
