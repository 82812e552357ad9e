"""One file per figure or table of a source paper."""
