# What fine-tuning a pretrained backbone shares, whichever library it runs in.
custom_imports = dict(imports=['mixskd_mm'], allow_failed_imports=False)

# For default_hooks, which the other base of a config may have too: mmengine refuses the same key in two bases.
downstream_hooks = dict(
    runtime_info=dict(type='DeferredRuntimeInfoHook'),
    # Stops unless the backbone takes all of its tensors from model.backbone.init_cfg.
    backbone_weights=dict(type='BackboneWeightsHook'),
    epoch_seed=dict(type='EpochSeedHook'),
    interruption=dict(type='InterruptionHook'),
    loader_check=dict(type='LoaderCheckHook'),
    recipe_check=dict(type='RecipeCheckHook'),
    resume_check=dict(type='ResumeCheckHook'),
    finite_checkpoint=dict(type='FiniteCheckpointHook'),
    # A detector or segmenter of other classes may be started from.
    checkpoint_keys=dict(type='CheckpointKeysHook', partial_start=True),
    provenance=dict(type='ProvenanceHook'),
    # Losses, accuracies and learning rate beside the log.
    run_picture=dict(type='RunPictureHook'),
)

# A fixed seed: a resumed run needs the data order of the run that it continues.
randomness = dict(seed=0)
