"""What lies beside the weights in a folder for timm and the Hugging Face hub: config.json and README.md."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from torch import nn

from .images import Images


def timm_config(model: nn.Module, images: Images, classes: Sequence[str] | None) -> str:
    """The text of ``config.json``.

    Args:
        model (nn.Module): timm's, of the exported architecture.
        images (Images): What the network takes, in units of 0 to 255; timm's are of 0 to 1.
        classes (Sequence[str], optional): Names by label.
    """
    size = images.size or model.pretrained_cfg['input_size'][1:]
    whole = images.resized[0] if isinstance(images.resized, tuple) else images.resized or size[0]
    pretrained = dict(
        input_size=[len(images.mean), *size],
        fixed_input_size=False,
        interpolation=images.interpolation,
        crop_pct=crop_fraction(size[0], whole),
        crop_mode='squash' if isinstance(images.resized, tuple) else 'center',
        mean=[value / 255 for value in images.mean],
        std=[value / 255 for value in images.std],
        first_conv=model.pretrained_cfg['first_conv'],
        classifier=model.pretrained_cfg['classifier'],
        license='apache-2.0',
    )
    config = dict(
        architecture=model.pretrained_cfg['architecture'],
        num_classes=model.num_classes,
        num_features=model.num_features,
        global_pool='avg',
        pretrained_cfg=pretrained,
    )
    if classes:
        config['label_names'] = list(classes)
    return json.dumps(config, indent=2, ensure_ascii=False) + '\n'


def crop_fraction(size: int, whole: int) -> float:
    """The fraction of which timm makes ``whole`` again, as ``floor(size / fraction)``."""
    fraction = size / whole
    return fraction if math.floor(size / fraction) == whole else math.nextafter(fraction, 0)


def model_card(model: nn.Module, about: dict[str, str], images: Images, classes: Sequence[str] | None) -> str:
    """The text of ``README.md``, with the header that the hub reads."""
    architecture = model.pretrained_cfg['architecture']
    names = '\n'.join(f'{label}. {name}' for label, name in enumerate(classes)) if classes else ''
    listed = f'\n\n<details><summary>Names by label</summary>\n\n{names}\n\n</details>' if names else ', without names'
    return f"""---
license: apache-2.0
library_name: timm
pipeline_tag: image-classification
tags:
- image-classification
- timm
- mixskd
---
# {architecture}, trained with {about['recipe']}

| | |
|---|---|
| recipe | {about['recipe']}, epoch {about['epoch']} |
| code | mixskd_mm {about['mixskd_mm']} |
| accuracy | {about['accuracy']} |
| architecture | timm's {architecture} |
| images | {images} |
| licence | Apache-2.0, which is this file's default: the terms of the training images may ask for another |

```python
import timm

model = timm.create_model('local-dir:FOLDER', pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
```

`config.json` has the same mean and standard deviation in units of 0 to 1.

## Classes

{model.num_classes} classes{listed}
"""
