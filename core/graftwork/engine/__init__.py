"""The loop that runs any plan on any model: steps, evaluation, checkpoints, proofs, and what is decided by trying a few steps.

No domain, modality or label appears here. What the machine allows is `machine`'s; what is kept of frozen stages, `states`'.
"""
