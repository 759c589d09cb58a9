"""Workers that host models and solvers, the pools that feed them, and the files they write."""
