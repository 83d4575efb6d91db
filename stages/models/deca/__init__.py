"""DECA (Feng et al. 2021) and FLAME (Li et al. 2017): a face as 236 numbers a frame."""
