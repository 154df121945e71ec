"""Kept states: what frozen stages make of rows, computed once, kept, and handed out as examples.

Where rows of tensors lie on disk is `cache`'s; what is trained from them is decided by the engine.
"""
