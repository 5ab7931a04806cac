from .backbone_weights import BackboneWeightsHook
from .channels_last import ChannelsLastHook
from .checkpoint_keys import CheckpointKeysHook
from .deferred_log import DeferredRuntimeInfoHook
from .epoch_seed import EpochSeedHook, keep_loader_seed
from .finite_checkpoint import FiniteCheckpointHook
from .freed_memory import KeepFreedMemoryHook
from .interruption import InterruptionHook
from .label_range import LabelMapHook
from .late_removal import LateRemovalCheckpointHook
from .loader_check import LoaderCheckHook
from .mid_epoch import MidEpochTrainLoop
from .provenance import ProvenanceHook
from .recipe_check import RecipeCheckHook
from .resume_check import ResumeCheckHook
from .run_picture import RunPictureHook

__all__ = [
    'BackboneWeightsHook',
    'ChannelsLastHook',
    'CheckpointKeysHook',
    'DeferredRuntimeInfoHook',
    'EpochSeedHook',
    'FiniteCheckpointHook',
    'InterruptionHook',
    'KeepFreedMemoryHook',
    'LabelMapHook',
    'LateRemovalCheckpointHook',
    'LoaderCheckHook',
    'MidEpochTrainLoop',
    'ProvenanceHook',
    'RecipeCheckHook',
    'ResumeCheckHook',
    'RunPictureHook',
    'keep_loader_seed',
]
