"""ArcFace (Deng et al. 2019): who a face is, as a unit vector of 512 numbers."""
