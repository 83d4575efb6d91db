"""The report of a benchmark: a page, and its tables as Markdown, LaTeX and CSV."""
