"""A blind study: people rate the methods' films side by side, and their votes join the report."""
