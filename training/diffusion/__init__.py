"""The diffusion: its noise and loss, which conditions are seen when, and how a video is sampled."""
