"""The mean-field game of a finite game: population flow, values, best responses, exploitability."""
