"""FasterVQA (Wu et al. 2023): a video's quality, told from fragments by a small transformer."""
