import golden
import pytest
import torch
import torch.nn.functional as F

from mixskd_mm.models import PSKDLoss
from mixskd_mm.models.losses import cross_entropy, ps_kd_alpha, ps_kd_targets

LABELS = torch.tensor([2, 0, 2])


def logits(seed=0):
    return 2 * torch.randn(3, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_alpha_grows_linearly_and_reaches_its_last_value_in_the_last_epoch():
    assert [ps_kd_alpha(t, 4, 0.8) for t in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])


@pytest.mark.parametrize('alpha', [0.0, 0.3, 1.0])
def test_loss_in_float64(alpha):
    z, previous = logits(), logits(1).softmax(1)
    log_p, total = z - z.exp().sum(1, keepdim=True).log(), 0.0
    for n, label in enumerate(LABELS):
        total -= (1 - alpha) * log_p[n, label] + alpha * (previous[n] * log_p[n]).sum()
    torch.testing.assert_close(PSKDLoss()(z, LABELS, previous, alpha), total / 3)
    targets = ps_kd_targets(LABELS, previous, torch.tensor(alpha))
    torch.testing.assert_close(targets.sum(1), torch.ones(3, dtype=torch.float64))


def test_no_gradient_into_the_previous_predictions():
    z, previous = logits().requires_grad_(), logits(1).softmax(1).requires_grad_()
    PSKDLoss()(z, LABELS, previous, 0.5).backward()
    assert z.grad.any() and previous.grad is None
    assert not ps_kd_targets(LABELS, previous, 0.5).requires_grad


def test_predictions_kept_in_half_precision_give_a_float32_loss():
    previous = logits(1).softmax(1).half()
    loss = PSKDLoss()(logits().half(), LABELS, previous, 0.5)
    expected = PSKDLoss()(logits().half().float(), LABELS, previous.float(), 0.5)
    assert loss.dtype == torch.float32 and torch.equal(loss, expected)


def test_the_original_code():
    """Its first epochs: each reads the predictions of the epoch before and stores its own."""
    case = golden.case('ps_kd', 'small')
    x, hyper, values = golden.tensors(case), case['hyper'], case['values']
    alphas = [ps_kd_alpha(t, hyper['epochs'], hyper['alpha_T']) for t in range(hyper['epochs'])]
    assert alphas == pytest.approx(values['alpha_t'])

    stored = F.one_hot(x['y_all'], hyper['C']).float()
    for step in values['steps']:
        z_name = f'z_epoch{step["epoch"]}_batch{step["batch"]}'
        z, start = x[z_name], step['batch'] * hyper['batch_size']
        rows = slice(start, start + len(z))
        labels, alpha = x['y_all'][rows], alphas[step['epoch']]
        golden.assert_value(ps_kd_targets(labels, stored[rows], alpha), step['soft_targets'])
        loss = PSKDLoss()(z, labels, stored[rows], alpha)
        golden.assert_value(loss, step['loss'])
        golden.assert_value(loss, step['lib_loss'])
        golden.assert_value(cross_entropy(z, labels), step['plain_ce'])
        golden.assert_gradients(loss, x, {z_name: step['grad']})
        stored[rows] = z.detach().softmax(1)
    after = values['stored_predictions_after']
    golden.assert_value(stored.norm(), after['norm'])
    golden.assert_value(stored.flatten()[: len(after['head'])], after['head'])
