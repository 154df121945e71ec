"""A model and its weights: built by names, fetched, loaded, saved as an artifact. How it is trained is the engine's."""
