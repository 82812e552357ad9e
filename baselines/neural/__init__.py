"""Trainers of neural policies, their networks and their compiled training steps."""
