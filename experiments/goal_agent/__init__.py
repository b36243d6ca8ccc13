"""An agent that sets itself goals: a file for each of its parts."""
