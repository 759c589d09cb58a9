"""Where the work runs: the command line and the connection to Ray."""
