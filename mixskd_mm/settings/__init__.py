from .building import naming_settings
from .checks import check_complete, check_settings
from .culprits import describe_argument, describe_failure, settings_with, write_traceback

__all__ = [
    'check_complete',
    'check_settings',
    'describe_argument',
    'describe_failure',
    'naming_settings',
    'settings_with',
    'write_traceback',
]
