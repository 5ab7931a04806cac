_base_ = 'mmpretrain::_base_/default_runtime.py'

custom_imports = dict(imports=['mixskd_mm'], allow_failed_imports=False)

default_hooks = dict(
    # Reads the logged values from the device once an interval; stops at a loss that is not finite.
    runtime_info=dict(type='DeferredRuntimeInfoHook'),
    # The numbers to report are the last epoch's, so no best checkpoint is kept.
    checkpoint=dict(type='LateRemovalCheckpointHook', interval=1, max_keep_ckpts=2),
    # On CPUs: memory that a step frees is used again by the next one.
    memory=dict(type='KeepFreedMemoryHook'),
    epoch_seed=dict(type='EpochSeedHook'),
    # SIGTERM saves a checkpoint.
    interruption=dict(type='InterruptionHook'),
    loader_check=dict(type='LoaderCheckHook'),
    recipe_check=dict(type='RecipeCheckHook'),
    resume_check=dict(type='ResumeCheckHook'),
    finite_checkpoint=dict(type='FiniteCheckpointHook'),
    checkpoint_keys=dict(type='CheckpointKeysHook'),
    provenance=dict(type='ProvenanceHook'),
    # Losses, accuracies and learning rate beside the log.
    run_picture=dict(type='RunPictureHook'),
)

# mmpretrain's, written anew: its browse_dataset.py hands all of it to the class, also the _scope_ of what is inherited.
visualizer = dict(_delete_=True, type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])

# A fixed seed: a resumed run needs the data order of the run that it continues.
randomness = dict(seed=0)
