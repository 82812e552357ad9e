"""A-Taxi without learning: optimal plans of a single taxi, bounds on exploitability, and a dispatcher's rule."""
