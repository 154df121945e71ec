"""A run on disk and its data: the directory, reading its data, prediction with its trained model. `run` puts runs together."""
