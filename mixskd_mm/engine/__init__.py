from .backbone_weights import BackboneWeightsHook
from .checkpoint_keys import CheckpointKeysHook
from .deferred_log import DeferredRuntimeInfoHook
from .epoch_seed import EpochSeedHook, keep_loader_seed
from .finite_checkpoint import FiniteCheckpointHook
from .provenance import ProvenanceHook
from .recipe_check import RecipeCheckHook

__all__ = [
    'BackboneWeightsHook',
    'CheckpointKeysHook',
    'DeferredRuntimeInfoHook',
    'EpochSeedHook',
    'FiniteCheckpointHook',
    'ProvenanceHook',
    'RecipeCheckHook',
    'keep_loader_seed',
]
