from .optimise import PRESETS, MaskSettings, OptimisedMasks, SuperMixed, optimise_masks, supermix

__all__ = ['PRESETS', 'MaskSettings', 'OptimisedMasks', 'SuperMixed', 'optimise_masks', 'supermix']
