"""The loss compiled for the CPU by numba: what :mod:`bwot.sinkhorn` and :mod:`bwot.losses` take where numba is at hand."""
