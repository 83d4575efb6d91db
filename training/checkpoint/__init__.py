"""Our own checkpoint: per parameter, independent of ZeRO stage and world size, safe at any crash."""
