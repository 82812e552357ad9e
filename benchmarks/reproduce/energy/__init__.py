"""The energy market on real days: where its gain comes from, who gets it, and a page about it."""
