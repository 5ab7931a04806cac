# What fine-tuning a pretrained backbone shares, whichever library it runs in.
custom_imports = dict(imports=['mixskd_mm'], allow_failed_imports=False)

custom_hooks = [
    # Stops unless the backbone takes all of its tensors from model.backbone.init_cfg.
    dict(type='BackboneWeightsHook'),
    dict(type='RecipeCheckHook'),
    dict(type='FiniteCheckpointHook'),
    # A detector or segmenter of other classes may be started from.
    dict(type='CheckpointKeysHook', partial_start=True),
    dict(type='ProvenanceHook'),
]

# A fixed seed: a resumed run needs the data order of the run that it continues.
randomness = dict(seed=0)
