from .bifpn import BiFPNSelfTeacher
from .discriminator import Discriminator
from .self_teacher import SelfTeacher

__all__ = ['BiFPNSelfTeacher', 'Discriminator', 'SelfTeacher']
