"""MixSKD written down a second time, from the paper alone, for the tests to compare with.

Term by term, image by image, on whole feature maps, with explicit softmax, logarithms and one-hot labels. It shares the
weights of a :class:`MixSKDClassifier` (call it on ``model.double()``), and none of its arithmetic.
"""

import torch


def softmax(z):
    e = (z - z.max()).exp()
    return e / e.sum()


def soft_cross_entropy(z, label):
    """L_ce(sigma(z), label) of one image."""
    return -(label * softmax(z).log()).sum()


def kd(student, teacher, T):
    """T^2 KL(sigma(teacher/T) || sigma(student/T)) of one image; the teacher is fixed."""
    p_teacher = softmax(teacher.detach() / T)
    return T**2 * (p_teacher * (p_teacher.log() - softmax(student / T).log())).sum()


def gap(feature_map):
    height, width = feature_map.shape[1:]
    return feature_map.sum((1, 2)) / (height * width)


def linear(layer, x):
    return layer.weight @ x + layer.bias


def layer_norm(layer, x):
    """Of the last dimension."""
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / (variance + layer.eps).sqrt() * layer.weight + layer.bias


class ResNet:
    """What the stem is, what stage k is, and what is between GAP and a classifier; ``net`` is a backbone or a branch's."""

    @staticmethod
    def stem(net, images):
        x = net.relu(net.bn1(net.conv1(images)))
        return net.maxpool(x) if hasattr(net, 'maxpool') else x

    @staticmethod
    def stage(net, k, x):
        return getattr(net, f'layer{k}')(x)

    @staticmethod
    def pooled(net, x):
        return x


class ConvNeXt(ResNet):
    """Each stage after the first begins with its downsampling layer; what is pooled is normalised, then classified."""

    @staticmethod
    def stem(net, images):
        return getattr(net.downsample_layers, '0')(images)

    @staticmethod
    def stage(net, k, x):
        if k > 1:
            x = getattr(net.downsample_layers, str(k - 1))(x)
        return getattr(net.stages, str(k - 1))(x)

    @staticmethod
    def pooled(net, x):
        return layer_norm(net.norm3, x)


class Swin(ResNet):
    """Each stage after the first begins with patch merging; the last one ends with the final norm."""

    @staticmethod
    def stem(net, images):
        tokens, (height, width) = net.patch_embed(images)
        return tokens.transpose(1, 2).reshape(len(images), -1, height, width)

    @staticmethod
    def stage(net, k, x):
        n, channels, height, width = x.shape
        tokens, size = x.reshape(n, channels, height * width).transpose(1, 2), (height, width)
        if k > 1:
            tokens, size = getattr(net.stages, str(k - 2)).downsample(tokens, size)
        for block in getattr(net.stages, str(k - 1)).blocks:
            tokens = block(tokens, size)
        if k == 4:
            tokens = layer_norm(net.norm3, tokens)
        return tokens.transpose(1, 2).reshape(n, -1, *size)


def forward_stages(backbone, images, network=ResNet):
    """The outputs of the stages phi_1 ... phi_4, run one by one."""
    x = network.stem(backbone, images)
    outputs = []
    for k in range(1, 5):
        x = network.stage(backbone, k, x)
        outputs.append(x)
    return outputs


def interpolate(one, other, share):
    """Two maps ``(C, H, W)``; ``share`` of the first is a number, or a mask whose size is a multiple of theirs."""
    if not isinstance(share, torch.Tensor):
        return share * one + (1 - share) * other
    height, width = one.shape[1:]
    cells = share.reshape(height, share.shape[0] // height, width, share.shape[1] // width)
    mean = cells.sum((1, 3)) / (cells.shape[1] * cells.shape[3])
    return mean * one + (1 - mean) * other


def feature_maps(model, images, network=ResNet):
    """F_1 ... F_K of all images, Eq. (2)."""
    stages = forward_stages(model.backbone, images, network)
    maps = []
    for k, branch in enumerate(model.branches, start=1):
        x = stages[k - 1]
        for later in range(k + 1, 5):
            x = network.stage(branch.stages, later, x)
        maps.append(x)
    return [*maps, stages[-1]]


def h(model, maps):
    """The self-teacher on the whole maps of one image: concatenate, 1x1 convolution, GAP, linear."""
    kernel = model.self_teacher.conv.weight[:, :, 0, 0]
    shrunk = torch.einsum('oc,chw->ohw', kernel, torch.cat(maps))
    return linear(model.self_teacher.fc, gap(shrunk))


def discriminator(D, feature_map):
    """D_k of one map: the probability, or the two, that its sigmoid gives."""
    first, _, second = D.mlp
    hidden = linear(first, gap(feature_map)).clamp(min=0)
    return 1 / (1 + (-linear(second, hidden)).exp())


def terms(
    model,
    x,
    y,
    lam,
    index,
    *,
    mask=None,
    T,
    clean_weight=2.0,
    mixed_weight=1.0,
    teacher_stages=(1, 2, 3, 4),
    network=ResNet,
):
    """The six unweighted terms of Eq. (13), mean over the batch. Those of modules that ``model`` lacks are left out.

    With ``mask``, ``(N, 1, H, W)``, images and maps are interpolated pixel by pixel, a map with the mean of the mask's
    pixels below each of its own; labels and logits with the mask's mean, in the place of ``lam``.
    """
    n, num_classes = len(x), model.head.num_classes
    one_hot = torch.eye(num_classes, dtype=x.dtype)[y]

    # Eq. (4)
    x_mixed = torch.stack([interpolate(x[i], x[index[i]], lam if mask is None else mask[i, 0]) for i in range(n)])
    lams = [lam if mask is None else mask[i].mean() for i in range(n)]
    y_mixed = [lams[i] * one_hot[i] + (1 - lams[i]) * one_hot[index[i]] for i in range(n)]

    # Normalisation statistics are those of all 2N images together.
    maps = feature_maps(model, torch.cat([x, x_mixed]), network)
    K = len(maps)
    classifiers = [(branch.stages, branch.head.fc) for branch in model.branches] + [(model.backbone, model.head.fc)]

    def classify(k, feature_map):
        """b_k, or f for the last k: what is between GAP and the classifier, and the classifier."""
        net, layer = classifiers[k]
        return linear(layer, network.pooled(net, gap(feature_map)))

    total = dict(cls=0.0, feature=0.0, dis=0.0, b_logit=0.0, cls_h=0.0, f_logit=0.0)
    for i in range(n):
        j = index[i]
        F_i, F_j, F_mixed = [m[i] for m in maps], [m[j] for m in maps], [m[n + i] for m in maps]
        F_inter = [interpolate(F_i[k], F_j[k], lam if mask is None else mask[i, 0]) for k in range(K)]  # Eq. (6)
        z_i = [classify(k, F_i[k]) for k in range(K)]
        z_j = [classify(k, F_j[k]) for k in range(K)]
        z_mixed = [classify(k, F_mixed[k]) for k in range(K)]
        z_inter = [lams[i] * z_i[k] + (1 - lams[i]) * z_j[k] for k in range(K)]  # Eq. (9)

        for k in range(K):
            # Eq. (5), whose two clean terms clean_weight = 2 counts both.
            clean = soft_cross_entropy(z_i[k], one_hot[i]) + soft_cross_entropy(z_j[k], one_hot[j])
            total['cls'] += clean_weight / 2 * clean + mixed_weight * soft_cross_entropy(z_mixed[k], y_mixed[i])

            # Eq. (7)
            total['feature'] += ((F_inter[k] - F_mixed[k]) ** 2).sum() / F_mixed[k].numel()

            # Eq. (8); a second logit says the opposite.
            if hasattr(model, 'discriminators'):
                D = model.discriminators[k]
                p_inter, p_mixed = discriminator(D, F_inter[k]), discriminator(D, F_mixed[k])
                total['dis'] -= p_inter[0].log() + (1 - p_mixed[0]).log()
                if len(p_inter) == 2:
                    total['dis'] -= (1 - p_inter[1]).log() + p_mixed[1].log()

        # Eq. (10)
        for k in range(K - 1):
            total['b_logit'] += kd(z_inter[k], z_mixed[k], T) + kd(z_mixed[k], z_inter[k], T)

        if hasattr(model, 'self_teacher'):
            h_inter = h(model, [F_inter[k - 1] for k in teacher_stages])
            h_mixed = h(model, [F_mixed[k - 1] for k in teacher_stages])
            # Eq. (11)
            total['cls_h'] += soft_cross_entropy(h_inter, y_mixed[i]) + soft_cross_entropy(h_mixed, y_mixed[i])
            # Eq. (12)
            total['f_logit'] += kd(z_inter[-1], h_mixed, T) + kd(z_mixed[-1], h_inter, T)

    return {f'loss_{name}': value / n for name, value in total.items() if isinstance(value, torch.Tensor)}
