"""The mean-field side of a game: flow, values, exploitability."""
