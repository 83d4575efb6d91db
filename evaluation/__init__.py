"""Looking at what was made: previews now; metrics, methods and reports in time."""
