"""The engine: compiled kernels over worlds and agents, made from a game's rules."""
