"""U^2-Net, which cuts the salient object, or the person, out of a picture (Qin et al., 2020)."""
