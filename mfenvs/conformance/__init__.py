"""Conformance tests: whether a game's rules and environments keep the contracts of the engine and of libraries."""
