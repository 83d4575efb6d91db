"""Imported before NumPy: linear algebra on one thread, so that ways and not cores are compared."""

import os

os.environ.update(
    dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
)
