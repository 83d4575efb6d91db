"""From a release to a trained model, and by it from a film to a relit one."""
