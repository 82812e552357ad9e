"""Games brought as black boxes: from rollouts of a PettingZoo ParallelEnv to a finite game, and back."""
