"""Files whatever they are for: strict YAML, and writing that leaves a file whole or not at all. A run's files are `runs`'."""
