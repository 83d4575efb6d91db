"""Where it runs: settings, storage, weights and the engine. Nothing about faces."""
