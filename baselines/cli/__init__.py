"""The command line ``mfenvs``: one module a command, imported when it is called for."""
