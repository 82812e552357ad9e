"""Sweeps: games x algorithms x hyper-parameters x seeds, trained and measured by many processes.

A sweep is described by a TOML file (``specification``, with errors that name the line: ``toml_document``). Each
combination is a cell (``cells``). A cell is trained and measured in a folder of its own (``running``), by
processes of this machine (``local_pool``) or of a Ray cluster (``ray_pool``); ``sweep`` hands the cells out and
gathers the ``results``, which ``statistics`` and ``summary`` condense.
"""
