"""Distances between sets of features: Fréchet's, and the kernel's; streamed, merged exactly."""
