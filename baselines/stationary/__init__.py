"""Two-timescale policy gradient for stationary mean-field games (Subramanian & Mahajan, AAMAS 2019)."""
