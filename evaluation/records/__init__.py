"""Records: what a benchmark found, as one JSON document, and what may be concluded from it."""
