"""The command line ``mfenvs``: one module per command, imported when the command is used."""
