"""Methods: the systems that are judged."""
