"""Learners with neural networks, their networks and their compiled training steps."""
