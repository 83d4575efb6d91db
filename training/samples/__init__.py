"""Training samples: drawn, read, changed, put into batches, and cached."""
