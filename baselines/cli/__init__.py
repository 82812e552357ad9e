"""The command line ``mfenvs``."""
