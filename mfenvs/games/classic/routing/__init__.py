"""Dynamic routing on road networks: the game, and the networks of Braess and Sioux Falls."""
