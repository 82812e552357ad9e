"""The decentralised energy market of typed prosumers, as a game of N agents and as a finite game in bins."""
