"""The plan computed by Triton on a GPU: what :mod:`bwot.sinkhorn` takes for costs that lie on one."""
