"""Portico: the interfaces portal of an imaging site (domain and web)."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # otherwise NumPy starts a thread for each processor
