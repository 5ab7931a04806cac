import golden
import pytest
import torch

from mixskd_mm.errors import InputError
from mixskd_mm.models import BAKELoss
from mixskd_mm.models.losses import bake_loss, cross_entropy, knowledge_ensemble


def random(seed, shape):
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize('n, omega', [(2, 0.5), (6, 0.9), (7, 0.0)])
def test_ensemble_is_the_limit_of_propagating_the_predictions_over_the_batch(n, omega):
    z, h, T = random(0, (n, 5)), random(1, (n, 8)), 3.0
    affinity = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        similarity = torch.stack([h[i] @ h[j] / (h[i].norm() * h[j].norm()) for j in others])
        affinity[i, others] = similarity.exp() / similarity.exp().sum()
    predictions = (z / T).exp() / (z / T).exp().sum(1, keepdim=True)
    q = predictions
    for _ in range(400):
        q = omega * affinity @ q + (1 - omega) * predictions
    actual = knowledge_ensemble(z, h, T, omega)
    torch.testing.assert_close(actual, q)
    torch.testing.assert_close(actual.sum(1), torch.ones(n, dtype=torch.float64))
    log_p = z / T - (z / T).exp().sum(1, keepdim=True).log()
    torch.testing.assert_close(
        bake_loss(z, h, T, omega), T**2 * (q * (q.log() - log_p)).sum(1).mean(), atol=1e-12, rtol=1e-9
    )


def test_the_only_image_of_a_batch_keeps_its_prediction():
    z = random(0, (1, 5))
    torch.testing.assert_close(knowledge_ensemble(z, random(1, (1, 8)), 4.0, 0.5), (z / 4).softmax(1))


def test_gradient_is_that_of_a_fixed_target():
    z, h = random(0, (4, 5)).requires_grad_(), random(1, (4, 8)).requires_grad_()
    q = knowledge_ensemble(z, h, 4.0, 0.5)
    bake_loss(z, h, 4.0, 0.5).backward()
    torch.testing.assert_close(z.grad, 4 * ((z / 4).softmax(1) - q).detach() / 4)
    assert h.grad is None and not q.requires_grad


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_float32_for_half_inputs_under_autocast(dtype):
    z, h = random(0, (4, 5)).to(dtype), random(1, (4, 8)).to(dtype)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = bake_loss(z, h)
    assert loss.dtype == torch.float32 and torch.equal(loss, bake_loss(z.float(), h.float()))


@pytest.mark.parametrize('name', ['cifar', 'omega09'])
def test_the_original_code_and_the_library(name):
    case = golden.case('bake', name)
    x, hyper, values, grads = golden.tensors(case), case['hyper'], case['values'], case['grads']
    z, h, T, omega = x['z'], x['h'], hyper['T'], hyper['omega']
    ce, kd = cross_entropy(z, x['y']), BAKELoss(T, omega)(z, h)
    total = ce + hyper['lamda'] * kd
    golden.assert_value(knowledge_ensemble(z, h, T, omega), values['kd_targets'])
    golden.assert_value(kd, values['kd_loss'])
    golden.assert_value(total, values['total'])
    golden.assert_value(BAKELoss(T, omega=0)(z, h), values['omega0_kd_loss'], rtol=1e-3)
    golden.assert_gradients(total, x, grads['total'])
    golden.assert_gradients(kd, x, grads['kd_only'])

    released = BAKELoss(T, omega, released=True)(z, h)
    golden.assert_value(released, values['lib']['loss_div'])
    golden.assert_value(ce + released, values['lib']['total'])
    golden.assert_gradients(ce + released, x, grads['lib_total'])
    golden.assert_gradients(released, x, grads['lib_div_only'])


def test_module_refuses_what_the_function_cannot_compute():
    with pytest.raises(InputError, match=r'^BAKELoss omega=1: expected a number in \[0, 1\)$'):
        BAKELoss(omega=1)
    with pytest.raises(InputError, match=r'^BAKELoss temperature=0: expected a finite number > 0$'):
        BAKELoss(temperature=0)
