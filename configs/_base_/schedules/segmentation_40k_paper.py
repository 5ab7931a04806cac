_base_ = 'segmentation_40k.py'

optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
# PolyLR reaches its floor in iteration end - 1. The paper's formula would be 0 only after the last one: lr of iteration
# t = 0, 1, ... is 0.02 (1 - t / 40000)^0.9.
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=40001, by_epoch=False)]
