"""The training loop: what is asked of a run, its loss, its steps, and what it shows of itself."""
