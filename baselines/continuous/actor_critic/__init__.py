"""Actor-critic that sees the population, with steps on two timescales."""
