"""From a release to batches (and, in time, to a trained model)."""
