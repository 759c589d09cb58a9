"""The commands of `mesoforge`, a module for each group. Heavy imports live inside the functions: --help stays quick."""
