from .discriminator import Discriminator
from .self_teacher import SelfTeacher

__all__ = ['Discriminator', 'SelfTeacher']
