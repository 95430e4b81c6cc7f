"""Portico: the interfaces portal of an imaging site (domain and web)."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # NumPy else starts one a processor, for products of matrices
