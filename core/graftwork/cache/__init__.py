"""$GRAFTWORK_CACHE: what can be made again. Its room and limit, its entries, and rows of tensors found by their digests.

What a kind of entry means is decided by who keeps it: `states`, `vision`, `models`, `data`.
"""
