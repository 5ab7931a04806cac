# MixSKD, appendix B.1, for the fine-grained data sets; the data complete the lengths.
_base_ = 'fine_grained_205e.py'

# Lest MixSKD collapses on small sets: docs/stability.md.
optim_wrapper = dict(clip_grad=dict(max_norm=5))
train_cfg = dict(max_epochs=None, val_interval=None)
